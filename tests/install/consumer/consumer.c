#include <kvault/kvault.h>
#include <stdio.h>

int main(void) {
  printf("kvault %s\n", kvault_version_string());
  return 0;
}

# Bash completion for kvaultd. Written by tools/help/make.py from what --help says; change that, not this.

_kvaultd() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local words=
  COMPREPLY=()
  case "$previous" in
    --log-level) words="debug info warn error" ;;
    --socket) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --data-dir) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --idle-exit) return ;;
    --quota) return ;;
  esac
  if [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  words="--help --version --data-dir --socket --log-level --idle-exit --quota --background --replace"
  COMPREPLY+=($(compgen -W "$words" -- "$current"))
}

complete -F _kvaultd kvaultd

# Fish completion for kvaultd. Written by tools/help/make.py from what --help says; change that, not this.

complete -c kvaultd -f
complete -c kvaultd -l help -d 'Print this help message and exit'
complete -c kvaultd -l version -d 'Display program version information and exit'
complete -c kvaultd -l data-dir -x -a '(__fish_complete_directories)' -d 'Where sessions are kept'
complete -c kvaultd -l socket -r -F -d 'Socket to listen at'
complete -c kvaultd -l log-level -x -a 'debug info warn error' -d 'debug, info, warn or error'
complete -c kvaultd -l idle-exit -x -d 'End after so many seconds without a client'
complete -c kvaultd -l quota -x -d 'What all files together may take, as in 500MB or 20GB'
complete -c kvaultd -l background -d 'Return once kvaultd serves'
complete -c kvaultd -l replace -d 'Ask the kvaultd at the socket to finish and end, and take its place'

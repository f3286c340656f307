# Bash completion for kvault: source it, or put it in /usr/share/bash-completion/completions/kvault.

_kvault_sessions() {
  # A running daemon only: pressing Tab starts nothing.
  kvault sessions --json --no-auto-start 2> /dev/null |
    sed -n 's/^ *"name": "\(.*\)",$/\1/p'
}

_kvault() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local commands="attend demo devices rm roundtrip run sessions show stats verify"
  local daemon="--socket --data-dir --no-auto-start --json --help"
  local command=${COMP_WORDS[1]}
  COMPREPLY=()
  if [ "$COMP_CWORD" = 1 ]; then
    COMPREPLY=($(compgen -W "$commands --help --version" -- "$current"))
    return
  fi

  local words=
  case "$previous" in
    --preset) words="raw k8v8 k8v4 k4v4 k4v3 k3v3 k3v2 k2v2" ;;
    --device)
      words=$(kvault devices --json 2> /dev/null | sed -n 's/^ *"device": "\(.*\)",*$/\1/p')
      [ "$command" != attend ] || words="$words oracle"
      ;;
    --raw-pages) words="sink,tail none" ;;
    --side) words="key value" ;;
    --scheme) words="raw q8 tq4 tq3 tq2" ;;
    --rule) words="matched least-squares unbiased plain" ;;
    --equalise)
      COMPREPLY=($(compgen -W "learn none" -- "$current") $(compgen -f -- "$current"))
      return
      ;;
    --k | --v | --q | --mask | --out | --lse | --input | --socket)
      COMPREPLY=($(compgen -f -- "$current"))
      return
      ;;
    --data-dir)
      COMPREPLY=($(compgen -d -- "$current"))
      return
      ;;
    --window | --valid-length | --softcap | --sparse-values | --sparse-tokens | --scale | --chunk | --threads) return ;;
  esac
  if [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi

  case "$command" in
    attend)
      words="--k --v --q --preset --device --causal --window --mask --valid-length --softcap --sparse-values --sparse-tokens
        --scale --equalise --raw-pages --chunk --threads --out --lse --check --json --help"
      ;;
    roundtrip)
      words="--input --side --scheme --rule --equalise --centre --no-centre --device --threads
        --out --json --help"
      ;;
    sessions | stats) words=$daemon ;;
    show | rm | verify)
      case "$current" in
        -*) words=$daemon ;;
        *) words=$(_kvault_sessions) ;;
      esac
      ;;
    devices) words="--json --help" ;;
    *) words=$(kvault "$command" --help 2> /dev/null | grep -o -- '--[a-z-]*') ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}

complete -F _kvault kvault

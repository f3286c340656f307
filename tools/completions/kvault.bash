# Bash completion for kvault. Written by tools/help/make.py from what --help says; change that, not this.

# A running daemon only: pressing Tab starts nothing.
_kvault_sessions() {
  kvault sessions --json --no-auto-start 2> /dev/null |
    sed -n 's/^ *"name": "\(.*\)",$/\1/p'
}

_kvault_devices() {
  kvault devices --json 2> /dev/null |
    sed -n 's/^ *"device": "\(.*\)",*$/\1/p'
}

_kvault() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local words=
  COMPREPLY=()
  case "$previous" in
    --preset) words="raw k8v8 k8v4 k4v4 k4v3 k3v3 k3v2 k2v2" ;;
    --row-type) words="f16 f32" ;;
    --raw-pages) words="sink,tail none" ;;
    --side) words="key value" ;;
    --scheme) words="raw q8 tq4 tq3 tq2" ;;
    --rule) words="matched least-squares unbiased plain" ;;
    --device) words=$(_kvault_devices) ;;
    --equalise) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --input) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --k) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --lse) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --mask) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --out) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --q) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --socket) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --token-file) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --v) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --all) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --data-dir) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --model) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --render) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --at) return ;;
    --baseline) return ;;
    --chunk) return ;;
    --interval) return ;;
    --label) return ;;
    --n-token) return ;;
    --name) return ;;
    --namespace) return ;;
    --new) return ;;
    --only) return ;;
    --recall) return ;;
    --remove) return ;;
    --rounds) return ;;
    --rows) return ;;
    --scale) return ;;
    --softcap) return ;;
    --sparse-tokens) return ;;
    --sparse-values) return ;;
    --stress) return ;;
    --threads) return ;;
    --ttl) return ;;
    --valid-length) return ;;
    --window) return ;;
  esac
  if [ -n "$words" ]; then
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    return
  fi
  if [ "$COMP_CWORD" = 1 ]; then
    words="--help --version"
    words="$words demo run eval attend roundtrip sessions show rm namespaces fork export import set verify stats top devices"
  else
    case "${COMP_WORDS[1]}" in
      demo) words="--help --n-token --preset --model --device --json --keep" ;;
      run) words="--help --model --preset --n-token --chunk --row-type --device --json" ;;
      eval) words="--help --model --preset --codec-only --stress --n-token --baseline --recall --threads --json --details --all --only --paper --render" ;;
      attend) words="--help --k --v --q --preset --device --causal --window --mask --valid-length --softcap --sparse-values --sparse-tokens --scale --equalise --raw-pages --chunk --threads --out --lse --check --json" ;;
      roundtrip) words="--help --input --side --scheme --rule --equalise --centre --no-centre --device --threads --out --json" ;;
      sessions) words="--help --label --socket --data-dir --namespace --token-file --no-auto-start --json" ;;
      show) words="--help --socket --data-dir --namespace --token-file --no-auto-start --json" ;;
      rm) words="--help --destroy --socket --data-dir --namespace --token-file --no-auto-start --json" ;;
      namespaces) words="--help --socket --data-dir --namespace --token-file --no-auto-start --json --new --encrypt --remove --yes" ;;
      fork) words="--help --at --socket --data-dir --namespace --token-file --no-auto-start --json" ;;
      export) words="--help --socket --data-dir --namespace --token-file --no-auto-start --json" ;;
      import) words="--help --name --socket --data-dir --namespace --token-file --no-auto-start --json" ;;
      set) words="--help --name --label --clear-labels --pin --unpin --ttl --no-ttl --socket --data-dir --namespace --token-file --no-auto-start --json" ;;
      verify) words="--help --repair --socket --data-dir --namespace --token-file --no-auto-start --json" ;;
      stats) words="--help --socket --data-dir --namespace --token-file --no-auto-start --json --prometheus" ;;
      top) words="--help --socket --data-dir --namespace --token-file --no-auto-start --interval --rounds --rows" ;;
      devices) words="--help --json" ;;
    esac
    case "$current" in -*) ;; *)
      case "${COMP_WORDS[1]}" in
        export | fork | rm | set | show | verify) words=$(_kvault_sessions) ;;
      esac
      case "${COMP_WORDS[1]}" in
        export | import) COMPREPLY=($(compgen -f -- "$current")) ;;
      esac
    esac
  fi
  COMPREPLY+=($(compgen -W "$words" -- "$current"))
}

complete -F _kvault kvault

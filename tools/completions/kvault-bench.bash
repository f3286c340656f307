# Bash completion for kvault-bench: source it, or put it in
# /usr/share/bash-completion/completions/kvault-bench.

# Completes the last name of a list with commas.
_kvault_bench_list() {
  local current=${COMP_WORDS[COMP_CWORD]} before=
  case "$current" in *,*) before=${current%,*}, ;; esac
  COMPREPLY=($(compgen -P "$before" -W "$1" -- "${current##*,}"))
}

_kvault_bench() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  COMPREPLY=()
  case "$previous" in
    --op) _kvault_bench_list "decode prefill encode reconstruct all"; return ;;
    --preset) _kvault_bench_list "raw k8v8 k8v4 k4v4 k4v3 k3v3 k3v2 k2v2"; return ;;
    --instruction-set) _kvault_bench_list "avx512 avx2 neon scalar"; return ;;
    --head-dim) _kvault_bench_list "32 48 64 80 96 112 128 160 192 256 512"; return ;;
    --device)
      COMPREPLY=($(compgen -W "$(kvault devices --json 2> /dev/null |
        sed -n 's/^ *"backend": "\(.*\)",*$/\1/p')" -- "$current"))
      return
      ;;
    --peer)
      COMPREPLY=($(compgen -W "ggml=" -- "$current"))
      compopt -o nospace 2> /dev/null
      return
      ;;
    --n-token | --n-head | --n-kv-head | --n-q | --n-threads | --set-bytes | --repetitions | \
      --min-time | --time-limit | --note) return ;;
  esac
  case "$current" in
    -*)
      COMPREPLY=($(compgen -W "--op --n-token --n-head --n-kv-head --head-dim --preset --n-threads
        --n-q --instruction-set --device --set-bytes --repetitions --min-time --json --svg
        --compare --calibrate --peer --report --quick --time-limit --note --version
        --help" -- "$current"))
      ;;
    *)  # of --json, --svg, --report, --calibrate and --compare; a folder after --peer ggml=
      COMPREPLY=($(compgen -f -- "$current"))
      ;;
  esac
}

complete -F _kvault_bench kvault-bench

# bash completion of opensandbox-egress(8): one option, no operand; or opensandbox-egress-ctl(1)
_opensandbox_egress_ctl()
{
    local i command= options="--json --address --cacert --token-file --help"
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            --address | --cacert | --token-file) ((i++)) ;;
            -*) ;;
            *) command+=" ${COMP_WORDS[i]}" ;;
        esac
    done
    case $command in
        " policy set" | " policy "[adr]*) options+=" --dry-run" ;;
        " events" | " top") options+=" --denied --once" ;;
    esac
    case ${COMP_WORDS[COMP_CWORD-1]},$2,$command in
        --address,*) ;;
        --cacert,* | --token-file,* | set,[!-]*,* | set,,*) mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
        *,-*,*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$2") ;;
        *,) mapfile -t COMPREPLY < <(compgen -W "policy leases events top" -- "$2") ;;
        *,*," policy")
            mapfile -t COMPREPLY < <(compgen -W "get set allow deny rm explain suggested" -- "$2") ;;
    esac
}

_opensandbox_egress()
{
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "--supervise --health --check --cleanup --help --version ctl" -- "$2")
    elif [[ ${COMP_WORDS[1]} == ctl ]]; then
        _opensandbox_egress_ctl "$@"
    fi
}
complete -F _opensandbox_egress opensandbox-egress

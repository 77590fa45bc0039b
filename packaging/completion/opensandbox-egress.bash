# bash completion of opensandbox-egress(8): one option, no operand
_opensandbox_egress()
{
    COMPREPLY=()
    [[ $COMP_CWORD -eq 1 ]] || return 0
    mapfile -t COMPREPLY < <(compgen -W "--supervise --health --check --cleanup --help --version" -- "$2")
}
complete -F _opensandbox_egress opensandbox-egress

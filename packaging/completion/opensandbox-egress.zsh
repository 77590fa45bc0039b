#compdef opensandbox-egress
# zsh completion of opensandbox-egress(8): one option, no operand; or opensandbox-egress-ctl(1)
_opensandbox_egress_ctl()
{
    local -a options=(
        '--json[answers for programs]'
        '--address[where the API is]:host\:port: '
        '--cacert[who vouches for its certificate]:file:_files'
        '--token-file[a file with its token]:file:_files'
        '(- *)--help[show how it is used]'
    )
    local -a change=('--dry-run[show what would change]')
    local -a look=('--denied[only what is refused]' '--once[what is known now, and no more]')
    case "$words[2] $words[3]" in
        policy\ set) _arguments $options $change '1: :' '2: :' '3:file:_files' ;;
        policy\ (allow|deny|rm)) _arguments $options $change '*: :' ;;
        events*|top*) _arguments $options $look '*: :' ;;
        *) _arguments $options \
            '1:command:((policy\:"what is allowed" leases\:"addresses that names led to" events\:"follow what the sandbox tries to reach" top\:"names and addresses by count"))' \
            '2:command:((get\:"show all of it" set\:"replace it by a file" allow\:"let targets through" deny\:"refuse targets" rm\:"remove rules" explain\:"which rule decides" suggested\:"the smallest policy for what was seen"))' \
            '*: :' ;;
    esac
}

if [[ $words[2] == ctl && CURRENT -gt 2 ]]; then
    shift words
    ((CURRENT--))
    _opensandbox_egress_ctl
else
    _arguments -s \
        '(- *)--supervise[run, and start again after a crash]' \
        '(- *)--health[ask whether enforcement is in place]' \
        '(- *)--check[show what a start would do, change nothing]' \
        '(- *)--cleanup[remove the rules: the namespace is open afterwards]' \
        '(- *)--help[show how it is used]' \
        '(- *)--version[show the version]' \
        '1:command:((ctl\:"look at the sidecar that runs here and change its policy"))'
fi

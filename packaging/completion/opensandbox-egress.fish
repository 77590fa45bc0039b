# fish completion of opensandbox-egress(8): one option, no operand; or opensandbox-egress-ctl(1)
complete -c opensandbox-egress -f
set -l none 'test (count (commandline -opc)) -eq 1'
complete -c opensandbox-egress -n $none -l supervise -d 'Run, and start again after a crash'
complete -c opensandbox-egress -n $none -l health -d 'Ask whether enforcement is in place'
complete -c opensandbox-egress -n $none -l check -d 'Show what a start would do, change nothing'
complete -c opensandbox-egress -n $none -l cleanup -d 'Remove the rules: the namespace is open afterwards'
complete -c opensandbox-egress -n $none -l help -d 'Show how it is used'
complete -c opensandbox-egress -n $none -l version -d 'Show the version'
complete -c opensandbox-egress -n $none -a ctl -d 'Look at the sidecar that runs here and change its policy'

set -l ctl '__fish_seen_subcommand_from ctl'
set -l commands policy leases events top
set -l policy get set allow deny rm explain suggested
set -l first "$ctl; and not __fish_seen_subcommand_from $commands"
set -l second "$ctl; and __fish_seen_subcommand_from policy; and not __fish_seen_subcommand_from $policy"
complete -c opensandbox-egress -n $ctl -l json -d 'Answers for programs'
complete -c opensandbox-egress -n $ctl -l address -x -d 'Where the API is'
complete -c opensandbox-egress -n $ctl -l cacert -r -F -d 'Who vouches for its certificate'
complete -c opensandbox-egress -n $ctl -l token-file -r -F -d 'A file with its token'
complete -c opensandbox-egress -n $ctl -l help -d 'Show how it is used'
complete -c opensandbox-egress -n $first -a policy -d 'What is allowed'
complete -c opensandbox-egress -n $first -a leases -d 'Addresses that names led to'
complete -c opensandbox-egress -n $first -a events -d 'Follow what the sandbox tries to reach'
complete -c opensandbox-egress -n $first -a top -d 'Names and addresses by count'
complete -c opensandbox-egress -n $second -a get -d 'Show all of it'
complete -c opensandbox-egress -n $second -a set -d 'Replace it by a file'
complete -c opensandbox-egress -n $second -a allow -d 'Let targets through'
complete -c opensandbox-egress -n $second -a deny -d 'Refuse targets'
complete -c opensandbox-egress -n $second -a rm -d 'Remove rules'
complete -c opensandbox-egress -n $second -a explain -d 'Which rule decides'
complete -c opensandbox-egress -n $second -a suggested -d 'The smallest policy for what was seen'
complete -c opensandbox-egress -n "$ctl; and __fish_seen_subcommand_from set" -F
complete -c opensandbox-egress -n "$ctl; and __fish_seen_subcommand_from set allow deny rm" -l dry-run -d 'Show what would change'
complete -c opensandbox-egress -n "$ctl; and __fish_seen_subcommand_from events top" -l denied -d 'Only what is refused'
complete -c opensandbox-egress -n "$ctl; and __fish_seen_subcommand_from events top" -l once -d 'What is known now, and no more'

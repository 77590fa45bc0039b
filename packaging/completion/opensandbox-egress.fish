# fish completion of opensandbox-egress(8): one option, no operand
complete -c opensandbox-egress -f
set -l none 'test (count (commandline -opc)) -eq 1'
complete -c opensandbox-egress -n $none -l supervise -d 'Run, and start again after a crash'
complete -c opensandbox-egress -n $none -l health -d 'Ask whether enforcement is in place'
complete -c opensandbox-egress -n $none -l check -d 'Show what a start would do, change nothing'
complete -c opensandbox-egress -n $none -l cleanup -d 'Remove the rules: the namespace is open afterwards'
complete -c opensandbox-egress -n $none -l help -d 'Show how it is used'
complete -c opensandbox-egress -n $none -l version -d 'Show the version'

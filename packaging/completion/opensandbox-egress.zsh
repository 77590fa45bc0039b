#compdef opensandbox-egress
# zsh completion of opensandbox-egress(8): one option, no operand
_arguments -s \
    '(- *)--supervise[run, and start again after a crash]' \
    '(- *)--health[ask whether enforcement is in place]' \
    '(- *)--check[show what a start would do, change nothing]' \
    '(- *)--cleanup[remove the rules: the namespace is open afterwards]' \
    '(- *)--help[show how it is used]' \
    '(- *)--version[show the version]'

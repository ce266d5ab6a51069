# What every fault here stands on; sourced, not run.
#
#   OPENCLAW       the program; `openclaw` from the PATH when not set
#   OPENCLAW_HOME  the home of the daemon that is attacked; it has to be named, and its configuration has to say
#                  `admin.chaos = true`, so that nobody attacks the wrong one
set -eu

OPENCLAW=${OPENCLAW:-openclaw}

fail() {
    echo "error: $*" >&2
    exit 2
}

# A tool that a fault needs; 3 says that the fault could not be tried here.
tool() {
    command -v "$1" >/dev/null 2>&1 || {
        echo "not tried: $1 is not installed" >&2
        exit 3
    }
}

[ -n "${OPENCLAW_HOME:-}" ] || fail "OPENCLAW_HOME names no home"
[ "$("$OPENCLAW" config get admin.chaos)" = true ] ||
    fail "$OPENCLAW_HOME is no home for tests: \`openclaw config set admin.chaos true\` makes it one"

# One value of what the running daemon says of itself.
said() {
    sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p" "$OPENCLAW_HOME/state/daemon.json"
}

pid() {
    said pid
}

# A request to the operators' listener, with the operator's certificate and key.
admin() {
    method=$1 path=$2
    tool curl
    curl -sS --max-time 10 --fail-with-body -X "$method" \
        --cacert "$OPENCLAW_HOME/state/tls/internal.pem" --cert "$OPENCLAW_HOME/state/tls/operator.pem" \
        -H "Authorization: Bearer $(cat "$OPENCLAW_HOME/state/operator.key")" "$(said admin)$path"
}

# A whole number from the arguments, or the default.
number() {
    case ${1:-$2} in
    '' | *[!0-9]*) fail "\`$1\` is no number" ;;
    *) echo "${1:-$2}" ;;
    esac
}

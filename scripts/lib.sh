# What scripts/run and scripts/test share: Debian packages and the build. Sourced, not run.

build_packages=(
    gcc libc6-dev meson ninja-build pkg-config python3 check
    libcap-ng-dev libcjson-dev libcurl4-openssl-dev libgnutls28-dev libidn2-dev libldns-dev libmd-dev libmicrohttpd-dev libmnl-dev
    libnftnl-dev libprotobuf-c-dev libpsl-dev libseccomp-dev protobuf-c-compiler zlib1g-dev
)
fuzz_packages=("${build_packages[@]}" clang libclang-rt-14-dev)
run_packages=("${build_packages[@]}" iproute2 nsd nginx-light curl bind9-dnsutils)
test_packages=("${run_packages[@]}" nftables conntrack e2fsprogs iodine knot-dnsutils openssl protobuf-compiler strace valgrind
    clang libclang-rt-14-dev clang-tidy cppcheck
    python3-pytest python3-pytest-rerunfailures python3-pytest-timeout python3-pytest-xdist
    python3-dnspython python3-grpcio python3-jsonschema python3-kubernetes python3-prometheus-client python3-protobuf python3-pyflakes
    python3-selenium python3-yaml
    prometheus chromium chromium-driver dnsperf gcovr)
# Unless there is another npm, which Debian's does not go along with.
command -v npm >/dev/null || test_packages+=(nodejs npm)
package_packages=(debhelper dpkg-dev lintian)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Ends the script unless it can do what it is for.
need_root_on_debian() {
    if ((EUID != 0)); then
        echo "$0 wants to be started by root: it makes network namespaces, and installs the Debian packages that are missing" >&2
        exit 77
    elif ! command -v dpkg-query apt-get >/dev/null; then
        echo "$0 wants Debian 12: dpkg-query and apt-get are not here" >&2
        exit 69
    fi
}

# Installs those of the named Debian packages that are missing, without starting the services in them.
install_packages() {
    local missing=() package
    for package; do
        [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    echo "installing ${missing[*]}"
    local policy=/usr/sbin/policy-rc.d made=
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && made=$policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    local status=$?
    [[ -z $made ]] || rm -f "$made"
    return $status
}

# build DIR [meson options]: builds in the folder, which is configured with the options when it is new.
build() {
    local dir=$root/$1
    shift
    [[ -f $dir/build.ninja ]] || meson setup -Dwerror=true "$@" "$dir" "$root" || return
    ninja -C "$dir"
}

# The program as it is run and installed: optimised as a whole, without tests.
release_dir=build-release
build_release() {
    build $release_dir -Db_lto=true -Dtests=false
}

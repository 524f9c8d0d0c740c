"""One POSIX sh script for all items of a round. Items hold names and paths; every one is checked and quoted here.

The script goes to the standard input of `sh -s`, so nothing of it shows in the node's process list. It writes no file, needs no
tool beyond coreutils or busybox, and reads as root only what plain reading was refused (`sudo -n`, one item at a time).

The answer is a row of frames, `\\n<nonce> B <head>\\n<bytes>\\n<nonce> E <exit code>\\n`; the nonce is not known to whoever wrote the
bytes. `app.clients.script_answer` reads it back. Heads: `f|item|state|how|size mtime mode owner|path` (file), `d|…` (digest only),
`s|…` (digest of a longer file), `t|item|state|how|complete|path` (listing), `c|item|id|argument|how` (command), `e|item` (what it
wrote to standard error), `j|item|how|kind` (log).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from shlex import quote
from typing import Final

from app.errors import UsageError
from app.ports import Command, File, Item, Journal, Tree

UNITS: Final = ("containerd", "docker", "crio", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "kubelet")
"""Units that `units.json` tells about when none are named."""

OS_CA: Final = (
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
)  # fmt: skip
"""CA bundles in the order in which Go programs on Linux look for them; the first that exists is the one in use."""

COMMANDS: Final = (
    "containerd-config-dump", "crictl-info", "versions", "df", "unit", "environ", "processes", "getent", "arch", "os-release",
    "images", "plugins", "sudo", "os-ca", "mtu", "timesync",
    "docker-ps",
)  # fmt: skip

_UNIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._:-]*")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]*")

PRELUDE: Final = r"""
set -f
U=$(id -u); HS=n
if [ "$U" != 0 ] && command -v sudo >/dev/null && sudo -n -l >/dev/null 2>&1; then HS=y; fi
if command -v timeout >/dev/null; then T='timeout 20'; else T=; fi
# A frame's end goes out with the next one's begin: each write is a packet, and packets are what reading costs.
P=
B() { printf '%s\n%s B %s\n' "$P" "$N" "$1"; P=; }
E() { P="$P
$N E $1
"; }
fl() { printf '%s' "$P"; P=; }
# Nearest folder above that can be seen: if it can be entered, what is not seen in it is not there.
above() { d=${1%/*}; while [ -n "$d" ] && ! [ -e "$d" ]; do d=${d%/*}; done; [ -x "${d:-/}" ]; }
# see PATH: sets st (ok, absent, denied) and w (sudo or nothing) for a file or folder.
see() {
    st=ok w= how=plain
    if [ -e "$1" ]; then
        if [ "$U" = 0 ] || { [ -r "$1" ] && { ! [ -d "$1" ] || [ -x "$1" ]; }; }; then return; fi
    elif [ "$U" = 0 ] || above "$1"; then st=absent; return; fi
    if [ $HS = n ]; then st=denied; return; fi
    how=sudo
    if r=$(sudo -n stat -L -c %s -- "$1" 2>&1); then w='sudo -n'; return; fi
    case $r in *'o such file'*|*'ot a directory'*) st=absent ;; *) st=denied ;; esac
}
# F item limit c|t|d path
F() {
    see "$4"
    if [ $st != ok ]; then B "f|$1|$st|$how||$4"; E 0; return; fi
    m=$($w stat -L -c '%s %Y %a %U:%G %F' -- "$4") || { B "f|$1|denied|$how||$4"; E 1; return; }
    case $m in *' directory') B "f|$1|directory|$how|$m|$4"; E 0; return ;; esac
    case $3 in
    d) B "d|$1|ok|$how|$m|$4"; $w sha256sum -- "$4"; E $? ;;
    *) B "f|$1|ok|$how|$m|$4"
        if [ "$3" = t ]; then $w tail -c "$2" -- "$4"; else $w head -c "$2" -- "$4"; fi
        E $?
        if [ "${m%% *}" -gt "$2" ]; then B "s|$1|ok|$how|$m|$4"; $w sha256sum -- "$4"; E $?; fi ;;
    esac
}
# R item limit count path
R() {
    see "$4"
    if [ $st != ok ]; then B "t|$1|$st|$how||$4"; E 0; return; fi
    l=$($w find -L "$4" -maxdepth 12 \( -type f -o -type d \) -exec stat -L -c '%s %Y %a %U:%G %F|%n' -- {} + 2>/dev/null); k=$?
    if [ $k != 0 ] && [ $HS = y ] && [ -z "$w" ]; then
        w='sudo -n' how=sudo
        l=$($w find -L "$4" -maxdepth 12 \( -type f -o -type d \) -exec stat -L -c '%s %Y %a %U:%G %F|%n' -- {} + 2>/dev/null); k=$?
    fi
    n=$(printf '%s\n' "$l" | grep -c '|')
    c=y; if [ $k != 0 ] || [ "$n" -gt 5000 ]; then c=n; fi
    B "t|$1|ok|$how|$c|$4"; printf '%s\n' "$l" | head -n 5000; E 0
    fl
    printf '%s\n' "$l" | grep -v '^[^|]* directory|' | head -n "$3" | { while IFS= read -r q; do [ -n "$q" ] && F "$1" "$2" c "${q#*|}"; done; fl; }
}
# K item id argument command...: standard output as it comes, standard error after it.
K() {
    i=$1; B "c|$1|$2|$3|${how:-plain}"; shift 3
    { r=$("$@" 2>&1 1>&3 3>&-); k=$?; } 3>&1
    E $k
    if [ -n "$r" ]; then B "e|$i"; printf '%s' "$r" | head -c 8000; E 0; fi
}
# A: the same as root.
A() {
    if [ "$U" = 0 ]; then how=plain; K "$@"; return; fi
    i=$1 c=$2 a=$3; shift 3
    how=sudo
    if [ $HS = y ]; then K "$i" "$c" "$a" sudo -n "$@"; else B "c|$i|$c|$a|denied"; E 1; fi
    how=
}
prop() { systemctl show -p "$2" "$1" 2>/dev/null | sed -n "s/^$2=//p"; }
# Sets RB (containerd's program) and RC (its configuration file), from the running process where there is one.
runtime() {
    RP= RB= RC= v=
    set +f; for q in /proc/[0-9]*/comm; do
        read -r n 2>/dev/null <"$q" || continue
        [ "$n" = containerd ] || continue
        q=${q%/comm}
        case $(tr '\0' ' ' <"$q/cmdline" 2>/dev/null) in *docker/containerd*) [ -n "$RP" ] || RP=$q ;; *) RP=$q; break ;; esac
    done; set -f
    if [ -n "$RP" ]; then
        for q in $(tr '\0' '\n' <"$RP/cmdline"); do
            case $v in -c|--config) RC=$q ;; '') case $q in /*) RB=$q ;; esac ;; esac
            case $q in --config=*|-c=*) RC=${q#*=} ;; esac
            v=$q
        done
        q=$(readlink "$RP/exe" 2>/dev/null); [ -n "$q" ] && RB=$q
    fi
    for q in k3s rke2; do
        v=/var/lib/rancher/$q/agent/etc/containerd/config.toml
        if [ -z "$RC" ] && { [ -e /etc/rancher/$q ] || [ -e $v ]; } && ! command -v containerd >/dev/null; then RC=$v; fi
    done
    for q in "$RB" "$(command -v containerd)" /var/lib/rancher/k3s/data/current/bin/containerd /var/lib/rancher/rke2/bin/containerd; do
        [ -n "$q" ] && [ -x "$q" ] && { RB=$q; break; }
    done
    RC=${RC:-/etc/containerd/config.toml}
}
# Sets C to the crictl command line of this node.
crictl_of() {
    C=
    for q in k3s rke2; do
        v=/var/lib/rancher/$q/agent
        [ -d /etc/rancher/$q ] || [ -d $v ] || continue
        for n in /var/lib/rancher/$q/data/current/bin/crictl /var/lib/rancher/$q/bin/crictl; do [ -x $n ] && C="$n --config $v/etc/crictl.yaml"; done
        [ -z "$C" ] && [ $q = k3s ] && command -v k3s >/dev/null && C='k3s crictl'
    done
    [ -n "$C" ] || C=crictl
}
"""

_CONFIG_DUMP = r"""
runtime
if [ -z "$RB" ]; then B "c|{i}|containerd-config-dump||plain"; E 127
else
    see "$RC"
    if [ $st = denied ] || [ "$how" = sudo ]; then A {i} containerd-config-dump "$RC" "$RB" -c "$RC" config dump
    else
        o=$($T "$RB" -c "$RC" config dump 2>&1 >/dev/null)
        case $o in *'ermission denied'*) A {i} containerd-config-dump "$RC" "$RB" -c "$RC" config dump ;;
        *) how=plain; K {i} containerd-config-dump "$RC" $T "$RB" -c "$RC" config dump ;; esac
    fi
fi"""

_VERSIONS = r"""
runtime; crictl_of
B 'c|{i}|versions||plain'
{{
    [ -n "$RB" ] && "$RB" --version
    for q in dockerd crio kubelet k3s rke2; do command -v $q >/dev/null && $T $q --version | head -n 1; done
    runc --version | head -n 1
    $C --version
    (. /etc/os-release; echo "$PRETTY_NAME")
    uname -sr
}} 2>&1
E 0"""

_UNIT_STATE = r"""
if ! command -v systemctl >/dev/null; then B 'c|{i}|unit||plain'; E 127
else
    B 'c|{i}|unit||plain'
    v=$(systemctl show -p Id -p LoadState -p ActiveState -p SubState -p MainPID -p ExecMainStartTimestamp -p ExecMainStartTimestampMonotonic \
        -p FragmentPath -p DropInPaths -p NeedDaemonReload -p NRestarts {units} 2>/dev/null)
    printf '%s\n' "$v"
    printf '\n%s\n' '--'
    for q in $(printf '%s\n' "$v" | sed -n 's/^MainPID=\([1-9][0-9]*\)$/\1/p'); do
        r=$(readlink /proc/$q/exe 2>/dev/null)
        [ -z "$r" ] && [ $HS = y ] && r=$(sudo -n readlink /proc/$q/exe 2>/dev/null)
        printf 'exe %s %s\n' $q "$r"
        printf 'args %s ' $q; tr '\0' '\037' </proc/$q/cmdline; echo
        printf 'stat %s ' $q; cat /proc/$q/stat
    done 2>/dev/null
    printf '%s\n' "$v" | sed -n 's/^ExecMainStartTimestamp=\(..*\)/\1/p' | while IFS= read -r q; do printf 'epoch %s %s\n' "$(date -d "$q" +%s 2>/dev/null)" "$q"; done
    sed -n 's/^btime/btime/p' /proc/stat
    printf 'ticks %s\n' "$(getconf CLK_TCK 2>/dev/null)"
    E 0
fi"""

_ENVIRON = r"""
q=$(prop {unit} MainPID)
if [ "${{q:-0}}" = 0 ]; then B 'c|{i}|environ|{unit}|absent'; E 0
else A {i} environ {unit} cat /proc/$q/environ; fi"""

_OS_CA = r"""
for p in {paths}; do see "$p"; if [ $st != absent ]; then F {i} 0 d "$p"; break; fi; done"""

_TIMESYNC = r"""
B 'c|{i}|timesync||plain'
if command -v timedatectl >/dev/null; then $T timedatectl show 2>&1; fi
if command -v chronyc >/dev/null; then echo '$ chronyc tracking'; $T chronyc -n tracking 2>&1; fi
E 0"""

# Under k3s and RKE2 containerd writes a file of its own, and k3s' kubelet writes into k3s' journal.
_JOURNAL = r"""
Jf= Ju={unit}
case {unit} in
containerd) for q in k3s rke2; do p=/var/lib/rancher/$q/agent/containerd/containerd.log; [ -d /etc/rancher/$q ] || [ -d /var/lib/rancher/$q ] || continue; see $p; [ $st = absent ] || Jf=$p; done ;;
kubelet) p=/var/lib/rancher/rke2/agent/logs/kubelet.log; if [ -d /etc/rancher/rke2 ] || [ -d /var/lib/rancher/rke2 ]; then see $p; [ $st = absent ] || Jf=$p; fi
    if [ -z "$Jf" ] && [ "$(prop kubelet LoadState)" != loaded ]; then for q in k3s k3s-agent; do [ "$(prop $q LoadState)" = loaded ] && Ju=$q; done; fi ;;
esac
if [ -n "$Jf" ]; then
    see "$Jf"
    if [ $st = denied ]; then B "j|{i}|denied|file|$Jf"; E 1
    else B "j|{i}|$how|file|$Jf"; $w tail -n 20000 -- "$Jf" | {select}; E 0; fi
elif ! command -v journalctl >/dev/null; then B 'j|{i}|plain|journal|'; E 127
else
    w= how=plain
    case " $(id -Gn) " in *' root '*|*' systemd-journal '*|*' adm '*) ;; *) if [ $HS = y ]; then w='sudo -n' how=sudo; else how=denied; fi ;; esac
    B "j|{i}|$how|journal|$Ju"
    if [ $how != denied ]; then $w $T journalctl -q --no-pager -u "$Ju" {window} 2>&1 | {select}; fi
    E 0
fi"""


def render(items: Sequence[Item], nonce: str) -> str:
    """The script for all items; item numbers are their places. Raises UsageError for a name or path that is not one."""
    parts = [f"N={quote(nonce)}\n{{", PRELUDE]
    parts += [_render(number, item) for number, item in enumerate(items)]
    parts.append('printf \'%s\\n%s Z %s\\n\' "$P" "$N" "$HS"\n} </dev/null 2>/dev/null')
    return "\n".join(parts) + "\n"


def path_of(path: str) -> str:
    """A checked absolute path, quoted. Raises UsageError."""
    if not path.startswith("/") or any(ord(sign) < 32 for sign in path) or "/../" in f"{path}/":
        raise UsageError(f"{path!r} is not an absolute path.")
    return quote(path)


def unit_of(unit: str) -> str:
    """A checked unit name. Raises UsageError."""
    if not _UNIT.fullmatch(unit):
        raise UsageError(f"{unit!r} is not a unit name.")
    return unit


def _render(number: int, item: Item) -> str:
    if isinstance(item, File):
        return f"F {number} {int(item.limit)} {'d' if item.digest_only else 't' if _is_log(item.path) else 'c'} {path_of(item.path)}"
    if isinstance(item, Tree):
        return f"R {number} {int(item.limit)} {int(item.count)} {path_of(item.path.rstrip('/') or '/')}"
    if isinstance(item, Journal):
        window = f"--since @{int(item.since)}" if item.since is not None else "-n 20000"
        grep = " ".join(f"-e {quote(word)}" for word in item.grep if word and "\n" not in word)
        select = (f"grep -a -F {grep} | " if grep else "") + f"tail -n {int(item.lines)} | cut -c 1-2000"
        return _JOURNAL.format(i=number, unit=unit_of(item.unit), window=window, select=select)
    return _command(number, item)


def _command(number: int, item: Command) -> str:
    arguments = item.arguments
    match item.id:
        case "containerd-config-dump":
            return _CONFIG_DUMP.replace("{i}", str(number))
        case "crictl-info":
            return f"crictl_of; A {number} crictl-info '' $C --timeout 10s info"
        case "images":
            return f"crictl_of; A {number} images '' $C --timeout 10s images -o json"
        case "plugins":
            return f"runtime; q=${{RB%/*}}/ctr; [ -x \"$q\" ] || q=ctr; A {number} plugins '' $q --connect-timeout 5s --timeout 10s plugins ls"
        case "versions":
            return _VERSIONS.format(i=number)
        case "df":
            paths = " ".join(path_of(path) for path in arguments) or (
                "/var/lib/containerd /var/lib/docker /var/lib/containers /var/lib/rancher/k3s/agent /var/lib/rancher/rke2/agent /var/lib/kubelet /"
            )
            return f'how=plain; K {number} df \'\' sh -c \'for q; do [ -e "$q" ] && set -- "$@" "$q"; shift; done; df -hT "$@"; df -i "$@"\' df {paths}'
        case "unit":
            return _UNIT_STATE.format(i=number, units=" ".join(unit_of(unit) for unit in arguments or UNITS))
        case "environ":
            return "\n".join(_ENVIRON.format(i=number, unit=unit_of(unit)) for unit in arguments or ("containerd",))
        case "processes":
            return f"how=plain; K {number} processes '' sh -c 'ps -eo pid,lstart,args | grep -E \"[c]ontainerd( |$)|[d]ockerd|[c]rio|[k]ubelet|/[k]3s |/[r]ke2 \" | grep -v shim | cut -c 1-600'"
        case "getent":
            hosts = [host for host in arguments if _HOST.fullmatch(host)]
            if not hosts or len(hosts) != len(arguments):
                raise UsageError(f"{arguments!r} are not host names.")
            return "\n".join(f"how=plain; K {number} getent {host} $T getent ahosts {host}" for host in hosts)
        case "arch":
            return f"how=plain; K {number} arch '' uname -m"
        case "os-release":
            return f"F {number} 16384 c /etc/os-release"
        case "sudo":
            return f"how=plain; K {number} sudo '' sudo -n -l"
        case "os-ca":
            return _OS_CA.format(i=number, paths=" ".join(OS_CA))
        case "mtu":
            return f"how=plain; K {number} mtu '' sh -c 'set +f; for q in /sys/class/net/*; do echo \"${{q##*/}} $(cat $q/mtu)\"; done'"
        case "docker-ps":
            return f"A {number} docker-ps '' docker ps -a --no-trunc --format '{{{{json .}}}}'"
        case "timesync":
            return _TIMESYNC.format(i=number)
        case _:
            raise UsageError(f"{item.id!r} is not a command that nodes are asked for.")


def _is_log(path: str) -> bool:
    return path.endswith(".log") or path.startswith("/var/log/")

# Starts the systemd-nspawn of one machine. Runs in a mount namespace of its own, so that the overlay vanishes with the
# machine. First of all it joins the machine's cgroups: from there on, every process of the machine can be found.
set -u
for directory in $NARU_CGROUPS; do
    echo $$ >"$directory/cgroup.procs" || exit 1
done
mount -t overlay "$NARU_MACHINE" -o "$NARU_OVERLAY" "$NARU_ROOT" || exit 1
if [ "$NARU_LOOP" = no ]; then
    exec systemd-nspawn "$@"
fi
# nspawn ends with 133 when the machine reboots and leaves starting it again to its caller.
while :; do
    systemd-nspawn "$@"
    code=$?
    [ "$code" -eq 133 ] || exit "$code"
    for directory in $NARU_CGROUPS; do
        find "$directory" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null
    done
done

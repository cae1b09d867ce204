#!/bin/sh
# First thing at boot: what the container manager leaves read-only becomes writable, and the network starts from nothing.
for hierarchy in /sys/fs/cgroup/*; do
    if mountpoint -q "$hierarchy"; then mount -o remount,bind,rw "$hierarchy" || true; fi
done
mount -o remount,bind,rw /proc/sys || true
# The whole file system of /sys is read-only, not just this mount of it.
mount -o remount,rw /sys || mount -o remount,bind,rw /sys || true

# The network namespace outlives a reboot of the machine; what the kernel keeps in it must not.
nft flush ruleset || true
for link in $(ip -oneline link | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do
    case "$link" in
    lo | eth0) ;;
    *) ip link delete "$link" 2>/dev/null || true ;;
    esac
done
ip address flush dev lo scope global || true
ip address flush dev eth0 || true
ip route flush table main 2>/dev/null || true

set -e
. /etc/naru-machine.env
ip link set lo up
ip address add "$ADDRESS" dev eth0
ip link set eth0 up
ip route add default via "$GATEWAY"

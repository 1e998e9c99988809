#!/bin/sh
# Stands for nsys: notes its words, runs what it is given, and leaves what the environment says.
echo "$@" >> "$FAKE_NSYS_NOTES"
if [ "$1" = export ]; then
    while [ "$1" != -o ]; do shift; done
    [ -n "$FAKE_NSYS_EXPORT" ] || exit 3
    exec cp "$FAKE_NSYS_EXPORT" "$2"
fi
shift
while [ $# -gt 0 ]; do
    case "$1" in
        -o) output=$2; shift 2 ;;
        --*=*) shift ;;
        -*) shift 2 ;;
        *) break ;;
    esac
done
"$@" || exit $?
[ -z "$FAKE_NSYS_EXPORT" ] || : > "$output.nsys-rep"

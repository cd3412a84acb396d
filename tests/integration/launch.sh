# The files of scripts/launch/: understood by what reads them, and consistent with the program and
# the README about which exit statuses are never worth another try. What they do under systemd and
# Docker was seen by hand: docs/supervisors.md. launch.py has AWS Batch.
. tests/lib.sh
launch=scripts/launch

# numbers TEXT...: the numbers in it, sorted, in a line
numbers() { grep -oE '[0-9]+' <<<"$*" | sort -n | xargs; }

# a name a status, as in src/cli/cli.h
status_of() { sed -n "s/^ *CLI_$1 = \([0-9]*\),.*/\1/p" src/cli/cli.h; }
never=$(for name in USAGE BAD_DATA MISSING DIVERGED CONFIG; do status_of $name; done)
never=$(numbers "$never")
prevented=$(sed -n 's/^RestartPreventExitStatus=//p' $launch/spotgrad.service)
same "the README: never again" \
    "$(numbers "$(sed -n 's/^| \([0-9, ]*\) |.*| never.*/\1/p' README.md)")" "$never"
same "the unit: never again, nor after 0, nor without program or user" "$(numbers "$prevented")" \
    "$(numbers "0 $never 203 217")"
same "the unit: interrupted is no failure" \
    "$(sed -n 's/^SuccessExitStatus=//p' $launch/spotgrad.service)" "$(status_of INTERRUPTED)"
worker=$launch/spotgrad-worker@.service
same "the worker's unit: the same statuses" \
    "$(grep -E '^(Restart|RestartPreventExitStatus|SuccessExitStatus|StartLimitIntervalSec)=' $worker)" \
    "$(grep -E '^(Restart|RestartPreventExitStatus|SuccessExitStatus|StartLimitIntervalSec)=' $launch/spotgrad.service)"

# --- systemd

# verify [EDIT...]: what systemd says of the unit, and its drop-in, after EDITs by sed. The programs
# that it names are not here.
verify() {
    local edits=(-e 's,/opt/spotgrad/spotgrad,/bin/true,; s,/usr/bin/docker,/bin/true,') edit

    for edit in "$@"; do edits+=(-e "$edit"); done
    rm -rf "$work/units"; mkdir -p "$work/units/spotgrad.service.d"
    sed "${edits[@]}" $launch/spotgrad.service >"$work/units/spotgrad.service"
    sed "${edits[@]}" $launch/docker.conf >"$work/units/spotgrad.service.d/docker.conf"
    run systemd-analyze verify --man=no "$work/units/spotgrad.service"
    grep -F spotgrad.service "$work/err" >"$work/said"
}
if command -v systemd-analyze >/dev/null; then
    verify
    same "systemd understands the unit" "$status, $(cat "$work/said")" "0, "
    verify 's/^Restart=always/Restart=sometimes/'
    if grep -q 'Failed to parse service restart' "$work/said"; then pass "systemd is heard"; else
        fail "systemd is heard" "said: $(cat "$work/said" "$work/err")"; fi
    verify 's/^RestartPreventExitStatus=126/RestartPreventExit=126/'
    if grep -q "docker.conf.*RestartPreventExit'" "$work/said"; then pass "the drop-in is read"; else
        fail "the drop-in is read" "said: $(cat "$work/said" "$work/err")"; fi
    for edit in s/^x// s/^RestartSec=.*/RestartSec=soon/; do
        sed -e 's,/opt/spotgrad/spotgrad,/bin/true,' -e "$edit" "$worker" >"$work/units/spotgrad-worker@mask.service"
        run systemd-analyze verify --man=no "$work/units/spotgrad-worker@mask.service"
        grep -F spotgrad-worker "$work/err" >"$work/said"
        case $edit in
            s/^x//) same "systemd understands the worker's unit" "$status, $(cat "$work/said")" "0, " ;;
            *) if grep -q 'Failed to parse sec' "$work/said"; then pass "the worker's unit is read"; else
                fail "the worker's unit is read" "said: $(cat "$work/said" "$work/err")"; fi ;;
        esac
    done
else
    skip "systemd understands the unit" "no systemd-analyze"
fi

# --- the image

# owner LIBRARY FILE: the Debian package of a library that FILE loads
owner() {
    local path

    path=$(ldd "$2" | awk -v name="$1" '$1 == name { print $3 }')
    dpkg-query -S "$(readlink -f "$path")" 2>/dev/null || dpkg-query -S "${path#/usr}" 2>/dev/null
}
if command -v dpkg-query >/dev/null && command -v readelf >/dev/null; then
    listed=$(sed -n '/^RUN apt-get.*install/,/&&  *\\$/p' $launch/Dockerfile)
    # and what those depend on
    there="$listed libc6 $(dpkg-query -W -f '${Depends} ' $(grep -oE '\blib[a-z0-9.-]+' <<<"$listed"))"
    for file in bin/spotgrad bin/libspotgrad_gloo.so; do
        [ -e $file ] || { skip "the image has what $file needs" "built without it"; continue; }
        missing=
        needed=$(readelf -d $file | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
        [ $file != bin/spotgrad ] || needed="$needed libopenblas.so.0" # loaded by name
        for library in $needed; do
            package=$(owner "$library" $file | head -n 1 | cut -d : -f 1)
            [ "$library" != libopenblas.so.0 ] || package=libopenblas0-pthread
            package=${package:-none}
            grep -qE "(^|[ ,])${package//+/\\+}([ ,:]|\$)" <<<"$there" || missing="$missing $library"
        done
        same "the image has what $file needs" "${needed:+missing:}$missing" "missing:"
    done
else
    skip "the image has the program's libraries" "no dpkg-query or readelf"
fi
# of two pods none sees the other's processes: what they exchange goes by Gloo
if awk '/^FROM/ { at = $4 } at == "build"' $launch/Dockerfile | grep -q "libgloo-dev"; then
    pass "the image is built with Gloo"; else fail "the image is built with Gloo" "no libgloo-dev"; fi
same "the units bring the plug-ins" "$(grep -l 'install .* bin/libspotgrad_\*\.so$' $launch/*.service | wc -l)" \
    "$(ls $launch/*.service | wc -l)"

[ $failures = 0 ]

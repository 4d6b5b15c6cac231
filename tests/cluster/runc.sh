#!/bin/sh
# Stands before runc: puts every container below the cluster's own cgroup, so that whatever a killed
# run left can be told from other containers of the host; and, where the host lends no memory
# controller, takes the memory limits out of the bundle, which runc could not set.
bundle= previous= create=
for argument; do
  [ "$previous" = --bundle ] && bundle=$argument
  [ "$argument" = create ] && create=yes
  previous=$argument
done
if [ -n "$create" ] && [ -n "$bundle" ]; then
  jq -c --arg group "$CLUSTER_CGROUP" --arg memory "$CLUSTER_MEMORY" '
    .linux.cgroupsPath |= "/\($group)/\(split("/") | last)"
    | if $memory == "yes" then . else del(.linux.resources.memory, .linux.resources.unified) end
  ' "$bundle/config.json" > "$bundle/config.new" || exit 1
  cat "$bundle/config.new" > "$bundle/config.json"
  rm "$bundle/config.new"
fi
exec runc "$@"

"""Specs with one wrong value: type, range, unit, URI, name or size."""

from tests.support.specs import OCI, SHA256, Bad, but, model, stateful, uri

_SPREAD = {"topologyKey": "zone"}
_AT_MOST_16 = [{"type": "Pods", "value": 1, "periodSeconds": 60}] * 17

TYPES = (
    Bad("no model", {}, "spec.model", "Required value", "is missing: set it"),
    Bad("no uri", {"model": {}}, "spec.model.uri", "Required value", "is missing: set it"),
    Bad("no spec fields but null", {"model": None}, "spec.model", "Required value", "is missing: set it"),
    Bad("spec is a number", 3, "spec", "must be of type object", "write an object"),  # type: ignore[arg-type]
    Bad("replicas is text", but(replicas="two"), "spec.replicas", "must be of type integer", "write an integer"),
    Bad("replicas is half", but(replicas=1.5), "spec.replicas", "must be of type integer", "write an integer"),
    Bad("cpu is half", but(resources={"cpu": 0.5}), "spec.resources.cpu", "must be of type", "an integer or a string"),
    Bad("cpu is true", but(resources={"cpu": True}), "spec.resources.cpu", "must be of type", "an integer or a string"),
    Bad("suspend is text", but(suspend="yes"), "spec.suspend", "must be of type boolean", "write true or false"),
    Bad("uri is a list", {"model": {"uri": [OCI]}}, "spec.model.uri", "must be of type string", "write a string"),
    Bad("pod is a list", but(pod=[]), "spec.pod", "must be of type object", "write an object"),
    Bad("labels are a list", but(pod={"labels": []}), "spec.pod.labels", "must be of type object", "write a map"),
    Bad(
        "tolerations are an object",
        but(pod={"tolerations": {}}),
        "spec.pod.tolerations",
        "must be of type array",
        "write a list",
    ),
    Bad(
        "env value is a number",
        but(runtime={"env": [{"name": "THREADS", "value": 4}]}),
        "spec.runtime.env[0].value",
        "must be of type string",
        "write a string",
    ),
)

RANGES = (
    Bad("no replica", but(replicas=0), "spec.replicas", "greater than or equal to 1", "write at least 1"),
    Bad("a billion replicas", but(replicas=10**9), "spec.replicas", "less than or equal to 1000", "at most 1000"),
    Bad(
        "no accelerator", but(accelerator={"type": "nvidia.com/gpu", "count": 0}), "spec.accelerator.count", "to 1", "1"
    ),
    Bad(
        "a percentile of 50",
        but(scaling={"maxReplicas": 2, "latency": {"target": "80ms", "percentile": 50}}),
        "spec.scaling.latency.percentile",
        'supported values: "90", "95", "99"',
        "write one of 90, 95 or 99",
    ),
    Bad(
        "half a percent of CPU",
        but(scaling={"maxReplicas": 2, "cpu": {"target": 101}}),
        "spec.scaling.cpu.target",
        "less than or equal to 100",
        "write at most 100",
    ),
    Bad(
        "seventeen policies",
        but(scaling={"maxReplicas": 2, "cpu": {"target": 50}, "behavior": {"scaleUp": {"policies": _AT_MOST_16}}}),
        "spec.scaling.behavior.scaleUp.policies",
        "must have at most 16 items",
        "write at most 16 items",
    ),
    Bad(
        "no policy",
        but(scaling={"maxReplicas": 2, "cpu": {"target": 50}, "behavior": {"scaleUp": {"policies": []}}}),
        "spec.scaling.behavior.scaleUp.policies",
        "should have at least 1 items",
        "at least 1 item, or leave the field out",
    ),
    Bad(
        "an empty name",
        but(pod={"priorityClassName": ""}),
        "spec.pod.priorityClassName",
        "at least 1 chars long",
        "write at least 1 character",
    ),
    Bad("an unknown format", model(format="pickle"), "spec.model.format", "supported values", "write one of 'onnx'"),
)

UNITS = (
    Bad("four bytes", but(resources={"memory": 4}), "spec.resources.memory", "must be at least 1Mi and at most 24Ti"),
    Bad("half a byte", but(resources={"memory": "500m"}), "spec.resources.memory", "must be at least 1Mi"),
    Bad("memory in MB", but(resources={"memory": "500MB"}), "spec.resources.memory", "write a quantity such as 4Gi"),
    Bad("no memory", but(resources={"memory": "0"}), "spec.resources.memory", "must be at least 1Mi"),
    Bad(
        "less than nothing", but(resources={"cpu": "-1"}), "spec.resources.cpu", "must be at least 1m and at most 1024"
    ),
    Bad("exabytes", but(resources={"memory": "9999999999999Ei"}), "spec.resources.memory", "at most 24Ti"),
    Bad("cpu with an exponent", but(resources={"cpu": "1e99"}), "spec.resources.cpu", "at most 1024"),
    Bad(
        "a quantity of 40 digits",
        but(resources={"cpu": "0" * 40}),
        "spec.resources.cpu",
        "may not be more than 32",
        "at most 32 characters",
    ),
    Bad("a blank in a duration", stateful(sessionTTL="24 h"), "spec.state.sessionTTL", "write a duration such as 1s"),
    Bad("a day", stateful(sessionTTL="1d"), "spec.state.sessionTTL", "one of us, ms, s, m, h"),
    Bad("an ISO duration", stateful(drainTimeout="PT10M"), "spec.state.drainTimeout", "write a duration such as 1s"),
    Bad(
        "a plain number of seconds",
        but(rollout={"progressDeadline": "600"}),
        "spec.rollout.progressDeadline",
        "such as",
    ),
    Bad(
        "a line break", but(rollout={"progressDeadline": "10m\n"}), "spec.rollout.progressDeadline", "write a duration"
    ),
    Bad("for ever", stateful(sessionTTL="999999h"), "spec.state.sessionTTL", "at least 1s and at most 8760h"),
    Bad("too many digits", stateful(sessionTTL="9" * 18 + "h"), "spec.state.sessionTTL", "write a duration"),
    Bad(
        "an hour per request",
        but(scaling={"maxReplicas": 2, "latency": {"target": "1h"}}),
        "spec.scaling.latency.target",
        "must be at least 1ms and at most 10m",
    ),
    Bad(
        "a share without a sign",
        but(scaling={"maxReplicas": 2, "cpu": {"target": 50}, "headroom": "0.5"}),
        "spec.scaling.headroom",
        "write a percentage such as 50%",
    ),
)

URIS = (
    Bad("a blank", uri("https://store.example/my model.onnx"), "spec.model.uri", "blanks as %20"),
    Bad(
        "a password",
        uri("https://me:secret@store.example/m.onnx"),
        "spec.model.uri",
        "put them into a Secret and name it",
    ),
    Bad("up and out", uri("pvc://claim/../../etc/passwd"), "spec.model.uri", "must hold no '..'"),
    Bad(
        "up and out, encoded",
        uri("https://store.example/a/%2e%2e/m"),
        "spec.model.uri",
        "must hold no '..', also encoded",
    ),
    Bad("an encoded slash", uri("https://store.example/a%2Fb"), "spec.model.uri", "name the file by its plain path"),
    Bad(
        "an upper-case scheme",
        uri("OCI://registry.example/m"),
        "spec.model.uri",
        "begin with oci://, pvc:// or https://",
    ),
    Bad("an upper-case repository", uri("oci://registry.example/Models/M"), "spec.model.uri", "in lower case"),
    Bad("an upper-case host", uri("https://Store.Example/m"), "spec.model.uri", "the host in lower case"),
    Bad("plain http", uri("http://store.example/m.onnx"), "spec.model.uri", "begin with oci://, pvc:// or https://"),
    Bad("a local file", uri("file:///etc/passwd"), "spec.model.uri", "begin with oci://, pvc:// or https://"),
    Bad("no scheme", uri("models/sentiment.onnx"), "spec.model.uri", "begin with oci://, pvc:// or https://"),
    Bad("a folder of a store", uri("https://store.example/models/"), "spec.model.uri", "no '/' at its end"),
    Bad("a folder of a claim", uri("pvc://claim/models/"), "spec.model.uri", "no '/' at its end"),
    Bad("a claim without a path", uri("pvc://claim"), "spec.model.uri", "write pvc://claim/path"),
    Bad("a host without a path", uri("https://store.example"), "spec.model.uri", "write https://host/path"),
    Bad("a bucket without a path", uri("s3://bucket"), "spec.model.uri", "write s3://bucket/path"),
    Bad("a bucket in upper case", uri("gs://Bucket/m.onnx"), "spec.model.uri", "write gs://bucket/path"),
    Bad(
        "no repository of a hub", uri("hf://sentiment"), "spec.model.uri", "write hf://organisation/repository@revision"
    ),
    Bad(
        "no registry",
        uri("oci://models/sentiment"),
        "spec.model.uri",
        "name the registry by a host with a dot or a port",
    ),
    Bad(
        "half a digest",
        uri("oci://registry.example/m@sha256:9f2c"),
        "spec.model.uri",
        "nothing after the tag or digest",
    ),
    Bad("a port of 70000", uri("https://store.example:70000/m"), "spec.model.uri", "write https://host/path"),
    Bad("a line break in a URI", uri("pvc://claim/m.onnx\n"), "spec.model.uri", "write pvc://claim/path"),
    Bad("an empty uri", uri(""), "spec.model.uri", "at least 1 chars long", "write at least 1 character"),
    Bad(
        "a uri of 3000 characters",
        uri("pvc://claim/" + "a" * 3000),
        "spec.model.uri",
        "may not be more than 2048",
        "write at most 2048 characters",
    ),
)

NAMES = (
    Bad(
        "a digest in upper case", model(sha256=SHA256.upper()), "spec.model.sha256", "64 lower-case hexadecimal digits"
    ),
    Bad("a short digest", model(sha256="9f2c"), "spec.model.sha256", "64 lower-case hexadecimal digits"),
    Bad(
        "a resource without a vendor",
        but(accelerator={"type": "gpu"}),
        "spec.accelerator.type",
        "such as nvidia.com/gpu",
    ),
    Bad(
        "a resource of Kubernetes",
        but(accelerator={"type": "kubernetes.io/gpu"}),
        "spec.accelerator.type",
        "kubernetes.io names no accelerator",
    ),
    Bad(
        "an upper-case class",
        but(pod={"priorityClassName": "High"}),
        "spec.pod.priorityClassName",
        "write the name of a Kubernetes object",
    ),
    Bad("a label with a blank", but(pod={"labels": {"my team": "a"}}), "spec.pod.labels", "write keys such as app"),
    Bad(
        "a label of 64", but(pod={"labels": {"a" * 64: "a"}}), "spec.pod.labels", "at most 63 characters after the '/'"
    ),
    Bad(
        "a value with a blank",
        but(pod={"labels": {"team": "a b"}}),
        "spec.pod.labels[team]",
        "write at most 63 letters",
    ),
    Bad("a node label", but(pod={"nodeSelector": {"-x": "a"}}), "spec.pod.nodeSelector", "write keys such as app"),
    Bad(
        "a label of Mooring",
        but(pod={"labels": {"app.kubernetes.io/name": "a"}}),
        "spec.pod.labels",
        "labels belong to Mooring: use others",
    ),
    Bad(
        "an annotation of Mooring",
        but(pod={"annotations": {"mooring.dev/template-hash": "a"}}),
        "spec.pod.annotations",
        "annotations belong to Mooring: use others",
    ),
    Bad(
        "a variable with a dash",
        but(runtime={"env": [{"name": "MY-VAR", "value": "a"}]}),
        "spec.runtime.env[0].name",
        "letters, digits and '_'",
    ),
    Bad(
        "a variable of Mooring",
        but(runtime={"env": [{"name": "MOORING_HTTP_PORT", "value": "1"}]}),
        "spec.runtime.env[0].name",
        "use the field that sets it",
    ),
    Bad(
        "a variable twice",
        but(runtime={"env": [{"name": "A"}, {"name": "B"}, {"name": "A"}]}),
        "spec.runtime.env[2]",
        "Duplicate value",
        "another item has the same name: keep one",
    ),
    Bad(
        "a spread twice",
        but(pod={"topologySpread": [_SPREAD, _SPREAD]}),
        "spec.pod.topologySpread[1]",
        "Duplicate value",
        "another item has the same topologyKey and whenUnsatisfiable: keep one",
    ),
    Bad("an image with a blank", but(runtime={"image": "my image"}), "spec.runtime.image", "write an image reference"),
    Bad(
        "a converter elsewhere",
        stateful(converter="/bin/sh"),
        "spec.state.converter",
        "the name of a file beside the model",
    ),
    Bad("a version with a blank", stateful(stateVersion="2 b"), "spec.state.stateVersion", "write letters, digits"),
)

HUGE = (
    Bad(
        "a hundred arguments",
        but(runtime={"args": ["a"] * 100}),
        "spec.runtime.args",
        "must have at most 64 items",
        "64",
    ),
    Bad(
        "an argument of 100 kilobytes",
        but(runtime={"args": ["a" * 100_000]}),
        "spec.runtime.args[0]",
        "may not be more than 1024",
        "write at most 1024 characters",
    ),
    Bad(
        "a thousand labels",
        but(pod={"labels": {f"label-{number}": "a" for number in range(1000)}}),
        "spec.pod.labels",
        "must have at most 32 items",
        "write at most 32 items",
    ),
    Bad(
        "a class of 300",
        but(pod={"runtimeClassName": "a" * 300}),
        "spec.pod.runtimeClassName",
        "more than 253",
        "at most 253",
    ),
)

BAD_VALUES = (*TYPES, *RANGES, *UNITS, *URIS, *NAMES, *HUGE)

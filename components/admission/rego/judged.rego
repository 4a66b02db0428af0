# What every rule may use: the object, its place for messages, its pod template and containers, and whether it is judged.
package lib.judged

judged := input.review.object

place := sprintf("%s/%s", [judged.metadata.namespace, judged.metadata.name]) if judged.metadata.namespace

place := judged.metadata.name if not judged.metadata.namespace

# A finding as a message: who, what is wrong and where, why that is so, and how to mend it.
message(finding) := sprintf("%s %s: %s. %s", [judged.kind, place, finding, input.parameters.advice])

# On its way out it must be able to go, whatever it looks like.
left_alone if judged.metadata.deletionTimestamp

# Before it changes an object, Pulumi's provider rewrites who holds which of its fields: what is wrong with it could never
# be mended if that were refused.
left_alone if {
	input.review.operation == "UPDATE"
	looked_at(judged) == looked_at(input.review.oldObject)
}

looked_at(one) := {
	"content": [object.get(one, field, null) | some field in ["spec", "data"]],
	"metadata": [object.get(one.metadata, field, null) | some field in ["labels", "annotations"]],
}

left_alone if regex.match(input.parameters.exempt, sprintf("%s/%s", [judged.kind, place]))

# Pods come from a template that was judged where somebody wrote it, before the mesh added its sidecar.
left_alone if input.review.userInfo.username == "system:kube-controller-manager"

left_alone if {
	some group in input.review.userInfo.groups
	group in input.parameters.controllers
}

# The audit has no user: there the object itself says that a controller made it.
left_alone if {
	not input.review.userInfo.username
	some owner in judged.metadata.ownerReferences
	owner.controller
}

template := judged if {
	judged.kind == "Pod"
} else := judged.spec.jobTemplate.spec.template if {
	judged.kind == "CronJob"
} else := judged.spec.template

containers := array.concat(
	[{"at": sprintf("init container '%s'", [body.name]), "init": true, "body": body} |
		some body in template.spec.initContainers
	],
	[{"at": sprintf("container '%s'", [body.name]), "init": false, "body": body} |
		some body in template.spec.containers
	],
)

# What a container runtime makes of an image's name: `docker.io/library` where no registry is named.
reference(image) := {"repository": repository(path), "tag": tag} if {
	rest := split(image, "@")[0]
	[path, tag] := cut(rest)
}

cut(rest) := [substring(rest, 0, (count(rest) - count(tag)) - 1), tag] if {
	last := regex.find_n(`[^/]*$`, rest, 1)[0]
	contains(last, ":")
	parts := split(last, ":")
	tag := parts[count(parts) - 1]
} else := [rest, ""]

repository(path) := sprintf("docker.io/library/%s", [path]) if {
	not contains(path, "/")
} else := path if {
	regex.match(`[.:]|^localhost$`, split(path, "/")[0])
} else := sprintf("docker.io/%s", [path])

# A quantity of Kubernetes as a number.
amount(quantity) := to_number(text) if {
	text := sprintf("%v", [quantity])
	regex.match(`^[0-9.]+([eE][+-]?[0-9]+)?$`, text)
} else := units.parse(quantity)

module cloudmart.local/crds

go 1.26.4

// Where the custom resource definitions come from: see ../../crds.py. Nothing here is compiled, and each module is
// fetched by itself, so `go mod tidy` has nothing to say: after a change, `go mod download <module>@<version>` here
// writes go.sum.
require (
	// The version that the chart of KUBE_PROMETHEUS_STACK installs.
	github.com/prometheus-operator/prometheus-operator v0.93.1
	// The version that the chart of ARGO_CD installs.
	github.com/argoproj/argo-cd/v3 v3.4.4
	github.com/cloudnative-pg/plugin-barman-cloud v0.15.0
	github.com/open-policy-agent/gatekeeper/v3 v3.23.1
	istio.io/api v1.31.4
	// The minor version that the chart of VERTICAL_POD_AUTOSCALER installs.
	k8s.io/autoscaler/vertical-pod-autoscaler v1.7.3
	// The minor version that Istio is built with.
	sigs.k8s.io/gateway-api v1.6.3
)

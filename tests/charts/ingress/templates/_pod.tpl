{{- define "labels" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .release }}
app.kubernetes.io/component: app
{{- end -}}
{{- define "container" -}}
image: registry.k8s.io/pause:3.10
resources: {{- toYaml .resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}
{{- define "budget" -}}
{{- if .values.podDisruptionBudget.enabled }}
{{- if le (int .values.replicaCount) 1 }}{{ fail "a PodDisruptionBudget with replicaCount 1" }}{{ end }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .release }}-{{ .name }}
  labels: {{- toYaml .values.extraLabels | nindent 4 }}
spec:
  {{- omit .values.podDisruptionBudget "enabled" | toYaml | nindent 2 }}
  selector:
    matchLabels: {{- include "labels" . | nindent 6 }}
{{- end }}
{{- end -}}

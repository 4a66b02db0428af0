{{- define "labels" -}}
app.kubernetes.io/name: argocd-{{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "container" -}}
image: registry.k8s.io/pause:3.10
resources: {{- toYaml .resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "template" -}}
metadata:
  labels:
    {{- include "labels" . | nindent 4 }}
    {{- toYaml .root.Values.global.podLabels | nindent 4 }}
spec:
  priorityClassName: {{ .root.Values.global.priorityClassName }}
  automountServiceAccountToken: {{ .token }}
  {{- with .account }}
  serviceAccountName: {{ . }}
  {{- end }}
  {{- with .restart }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .init }}
  initContainers:
    - name: {{ . }}
      {{- include "container" $ | nindent 6 }}
  {{- end }}
  containers:
    - name: {{ .name }}
      {{- include "container" . | nindent 6 }}
{{- end -}}

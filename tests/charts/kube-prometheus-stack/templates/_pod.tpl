{{- define "container" -}}
- name: {{ .name }}
  image: registry.k8s.io/pause:3.10
  resources: {{- toYaml .resources | nindent 4 }}
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
{{- end -}}
{{- define "pod" -}}
automountServiceAccountToken: false
serviceAccountName: {{ .account | default "default" }}
securityContext: {runAsNonRoot: true, runAsUser: 65534, seccompProfile: {type: RuntimeDefault}}
containers:
{{- range .containers }}
  {{- include "container" . | nindent 2 }}
{{- end }}
{{- end -}}

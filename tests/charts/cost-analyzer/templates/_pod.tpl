{{- define "pod" -}}
automountServiceAccountToken: false
securityContext: {runAsNonRoot: true, runAsUser: 1001, seccompProfile: {type: RuntimeDefault}}
{{- with .claim }}
volumes: [{name: data, persistentVolumeClaim: {claimName: {{ . }}}}]
{{- end }}
containers:
  - name: {{ .name }}
    image: registry.k8s.io/pause:3.10
    ports: [{containerPort: {{ .port }}}]
    resources: {{- toYaml .resources | nindent 6 }}
    {{- with .claim }}
    volumeMounts: [{name: data, mountPath: /data}]
    {{- end }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
{{- end -}}

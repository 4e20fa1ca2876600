{{/* The image of a part: a dict of the root and the part's values, which may name another one than all parts' own. */}}
{{- define "paddock.image" -}}
{{- $own := .part.image | default dict -}}
{{ $own.repository | default .root.Values.image.repository }}:{{ $own.tag | default .root.Values.image.tag }}
{{- end }}

{{- define "paddock.labels" -}}
app.kubernetes.io/part-of: paddock
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* The restricted profile of pod security admission. */}}
{{- define "paddock.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "paddock.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The secret files that a part reads from /secrets/platform, and no others: a dict of the root and their keys. */}}
{{- define "paddock.platformSecrets" -}}
- name: platform
  secret:
    secretName: {{ .root.Values.secrets.platform }}
    defaultMode: 0440
    items:
      {{- range .keys }}
      - {key: {{ . }}, path: {{ . }}}
      {{- end }}
{{- end }}

{{- define "paddock.internalUrl" -}}
http://paddock-controlplane.{{ .Release.Namespace }}.svc:7401
{{- end }}

{{/* Replicas of a part, named by the context, on different nodes as far as there are any. */}}
{{- define "paddock.spread" -}}
- maxSkew: 1
  topologyKey: kubernetes.io/hostname
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {app.kubernetes.io/name: {{ . }}}
{{- end }}

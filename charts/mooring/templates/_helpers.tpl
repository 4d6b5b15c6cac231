{{/* One operator serves a whole cluster. Its cluster-wide objects have fixed names, so that Helm itself refuses a
     second release instead of letting two operators write the same children. */}}
{{- define "mooring.name" -}}
mooring-operator
{{- end }}

{{- define "mooring.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mooring.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mooring.labels" -}}
{{ include "mooring.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: mooring
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* (dict "image" values "tag" default) -> repository@digest or repository:tag */}}
{{- define "mooring.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .tag }}
{{- end -}}
{{- end }}

{{/* The adapter has a fixed name, too: there is one APIService of external metrics in a cluster. */}}
{{- define "mooring.adapter.name" -}}
mooring-adapter
{{- end }}

{{/* Without a Prometheus it would only serve errors, and take the place of a server that has answers. */}}
{{- define "mooring.adapter.enabled" -}}
{{- if and .Values.adapter.enabled .Values.prometheus.url }}true{{ end }}
{{- end }}

{{- define "mooring.adapter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "mooring.adapter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "mooring.adapter.labels" -}}
{{ include "mooring.adapter.selectorLabels" . }}
app.kubernetes.io/component: adapter
app.kubernetes.io/part-of: mooring
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Environment of whoever asks Prometheus. */}}
{{- define "mooring.prometheus.env" -}}
{{- with .Values.prometheus }}
- name: MOORING_PROMETHEUS_URL
  value: {{ .url | quote }}
- name: MOORING_PROMETHEUS_TIMEOUT_SECONDS
  value: {{ .timeoutSeconds | quote }}
- name: MOORING_SCRAPE_SECONDS
  value: {{ .scrapeSeconds | quote }}
{{- with .labels }}
- name: MOORING_PROMETHEUS_LABELS
  value: {{ toJson . | quote }}
{{- end }}
{{- if .tokenSecret.name }}
- name: MOORING_PROMETHEUS_TOKEN_FILE
  value: /var/run/secrets/mooring.dev/prometheus-token/{{ .tokenSecret.key }}
{{- end }}
{{- if .caConfigMap.name }}
- name: MOORING_PROMETHEUS_CA_FILE
  value: /etc/mooring/prometheus-ca/{{ .caConfigMap.key }}
{{- end }}
{{- end }}
{{- end }}

{{- define "mooring.prometheus.volumeMounts" -}}
{{- if .Values.prometheus.tokenSecret.name }}
- name: prometheus-token
  mountPath: /var/run/secrets/mooring.dev/prometheus-token
  readOnly: true
{{- end }}
{{- if .Values.prometheus.caConfigMap.name }}
- name: prometheus-ca
  mountPath: /etc/mooring/prometheus-ca
  readOnly: true
{{- end }}
{{- end }}

{{- define "mooring.prometheus.volumes" -}}
{{- with .Values.prometheus.tokenSecret.name }}
- name: prometheus-token
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.prometheus.caConfigMap.name }}
- name: prometheus-ca
  configMap:
    name: {{ . }}
{{- end }}
{{- end }}

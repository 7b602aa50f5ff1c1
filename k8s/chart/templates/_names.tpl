{{/* What the objects are called: the release, if it has the chart's name in it. */}}
{{- define "portcullis.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{ .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{/* Labels that Helm's own tools go by. */}}
{{- define "portcullis.release" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
{{- end -}}

{{- define "portcullis.labels" -}}
app.kubernetes.io/name: portcullis
{{ include "portcullis.release" . }}
{{- end -}}

{{/* Which pods are portcullis's. */}}
{{- define "portcullis.selector" -}}
app.kubernetes.io/name: portcullis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* Which pods are those of its own Redis. */}}
{{- define "portcullis.redisSelector" -}}
app.kubernetes.io/name: redis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "portcullis.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* "true", or nothing. */}}
{{- define "portcullis.accounts" -}}
{{- if and .Values.accounts.enabled (not .Values.verifyOnly) -}}true{{- end -}}
{{- end -}}

{{- define "portcullis.store" -}}
{{- if and (ne .Values.redis.kind "none") (not .Values.verifyOnly) -}}{{ .Values.redis.kind }}{{- end -}}
{{- end -}}

{{- define "portcullis.alone" -}}
{{- if eq (int .Values.replicas.max) 1 -}}true{{- end -}}
{{- end -}}

{{- define "portcullis.provider" -}}
{{- $asked := or (include "portcullis.accounts" .) .Values.issuers -}}
{{- if kindIs "bool" .Values.networkPolicy.provider -}}
{{- if .Values.networkPolicy.provider -}}true{{- end -}}
{{- else if $asked -}}true{{- end -}}
{{- end -}}

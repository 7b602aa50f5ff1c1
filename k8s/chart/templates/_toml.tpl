{{/*
A value as TOML has it on one line. Helm's own toToml writes every number that comes of
YAML with a point, and a count with a point is none.
*/}}
{{- define "portcullis.value" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $pairs = append $pairs (printf "%s = %s" (include "portcullis.key" $key) (include "portcullis.value" $value)) -}}
{{- end -}}
{{- end -}}
{ {{ join ", " $pairs }} }
{{- else if kindIs "slice" . -}}
{{- $values := list -}}
{{- range . -}}{{- $values = append $values (include "portcullis.value" .) -}}{{- end -}}
[{{ join ", " $values }}]
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{ printf "%d" (int64 .) }}{{- else -}}{{ . }}{{- end -}}
{{- else if kindIs "string" . -}}
{{ toJson . }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end -}}

{{- define "portcullis.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* A whole file: tables, and lists of tables. */}}
{{- define "portcullis.toml" -}}
{{- range $name, $table := . }}
{{- if kindIs "slice" $table }}
{{- range $table }}

[[{{ $name }}]]
{{- range $key, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{ include "portcullis.key" $key }} = {{ include "portcullis.value" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- else if kindIs "map" $table }}

[{{ $name }}]
{{- range $key, $value := $table }}
{{- if not (kindIs "invalid" $value) }}
{{ include "portcullis.key" $key }} = {{ include "portcullis.value" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

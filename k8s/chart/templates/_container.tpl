{{/* What portcullis's container and that of the chart's test have in common. */}}
{{- define "portcullis.container" -}}
image: {{ include "portcullis.image" . }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
env:
  - name: PORTCULLIS_CONFIG
    value: /etc/portcullis/portcullis.toml
  {{- if include "portcullis.store" . }}
  {{- if or (eq .Values.redis.kind "own") .Values.redis.managed.urlFromSecret }}
  # In the environment, not in the ConfigMap, because the password is in it. Who
  # changes it restarts the pods.
  - name: PORTCULLIS__STORE__URL
    valueFrom: { secretKeyRef: { name: {{ .Values.redis.secret }}, key: url } }
  {{- end }}
  {{- end }}
  {{- if .Values.mutualTls.enabled }}
  - name: PORTCULLIS__CHECK__TLS
    value: >-
      { cert_file = "/run/secrets/portcullis/tls/tls.crt",
      key_file = "/run/secrets/portcullis/tls/tls.key",
      client_ca_file = "/run/secrets/portcullis/tls/ca.crt" }
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: { drop: [ALL] }
volumeMounts:
  # Whole directories, never a `subPath`: a file that is mounted by itself stays as it
  # was when the ConfigMap or Secret changes.
  - { name: config, mountPath: /etc/portcullis, readOnly: true }
  {{- if .Values.signingKeys.keys }}
  - { name: keys, mountPath: /run/secrets/portcullis/keys, readOnly: true }
  {{- end }}
  {{- if include "portcullis.accounts" . }}
  - { name: users, mountPath: /run/secrets/portcullis/users, readOnly: true }
  {{- end }}
  {{- if .Values.mutualTls.enabled }}
  - { name: tls, mountPath: /run/secrets/portcullis/tls, readOnly: true }
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Its pod, around the container. */}}
{{- define "portcullis.pod" -}}
automountServiceAccountToken: false
# No PORTCULLIS_PORT_… of the Service in the environment.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  # Makes the Secrets' files readable to this group, and to nobody else.
  fsGroup: 65532
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: config
    configMap: { name: {{ include "portcullis.name" . }} }
  # Made by hand or by a secret manager, never by this chart.
  {{- if .Values.signingKeys.keys }}
  - name: keys
    secret: { secretName: {{ .Values.signingKeys.secret }}, defaultMode: 0440 }
  {{- end }}
  {{- if include "portcullis.accounts" . }}
  - name: users
    secret: { secretName: {{ .Values.accounts.secret }}, defaultMode: 0440 }
  {{- end }}
  {{- if .Values.mutualTls.enabled }}
  # As cert-manager makes it: tls.crt, tls.key and ca.crt.
  - name: tls
    secret: { secretName: {{ .Values.mutualTls.secret }}, defaultMode: 0440 }
  {{- end }}
  {{- with .Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

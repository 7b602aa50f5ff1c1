{{/*
What values may not be together: a schema could say it, but not in words. Each says what
to do.
*/}}
{{- define "portcullis.refusals" -}}
{{- $v := .Values -}}
{{- if gt (int $v.replicas.min) (int $v.replicas.max) -}}
{{- fail (printf "replicas.min is %d and replicas.max is %d: give a max that is not below min" (int $v.replicas.min) (int $v.replicas.max)) -}}
{{- end -}}
{{- if and $v.verifyOnly (ne $v.redis.kind "none") -}}
{{- fail "verifyOnly shares nothing between replicas: set redis.kind to none" -}}
{{- end -}}
{{- if and $v.verifyOnly $v.gateway.signIn.enabled -}}
{{- fail "verifyOnly signs nobody in: set gateway.signIn.enabled to false" -}}
{{- end -}}
{{- if and (not $v.signingKeys.keys) (not $v.verifyOnly) -}}
{{- fail "who signs people in signs their tokens: set signingKeys.keys, or verifyOnly to true" -}}
{{- end -}}
{{- if and (not $v.signingKeys.keys) (not $v.issuers) -}}
{{- fail "there is no key to verify tokens by: set signingKeys.keys, or issuers" -}}
{{- end -}}
{{- if and (eq $v.redis.kind "none") (include "portcullis.accounts" .) (not (include "portcullis.alone" .)) -}}
{{- fail "several replicas that sign people in share codes and revocations: set redis.kind to own or managed, or replicas.min and replicas.max to 1" -}}
{{- end -}}
{{- if and (eq $v.redis.kind "managed") (not $v.redis.managed.cidrs) (not $v.networkPolicy.extraEgress) -}}
{{- fail "redis.kind is managed, and no NetworkPolicy leads there: set redis.managed.cidrs, such as [10.20.0.0/24]" -}}
{{- end -}}
{{- if and $v.overHttp.enabled (not $v.internalPeers) -}}
{{- fail "overHttp leads to the internal port, where the metrics are, too: set internalPeers to the pods' network and the nodes', such as [10.244.0.0/16, 10.0.0.0/16]" -}}
{{- end -}}
{{- if and (ne $v.gateway.check "none") (eq $v.gateway.transport "http") (not $v.overHttp.enabled) -}}
{{- fail "gateway.transport is http, and no Service leads to the internal port: set overHttp.enabled to true" -}}
{{- end -}}
{{- if and (eq $v.gateway.check "route") (not (and $v.gateway.route.name $v.gateway.route.namespace)) -}}
{{- fail "gateway.check is route, and no route is named: set gateway.route.name and gateway.route.namespace" -}}
{{- end -}}
{{- if and $v.mutualTls.enabled (ne $v.gateway.check "none") (eq $v.gateway.transport "http") -}}
{{- fail "mutualTls is for the port of gRPC: set gateway.transport to grpc" -}}
{{- end -}}
{{- range $path := list "check.listen" "http.listen" "internal.listen" "tokens.keys" "rules" "issuers" -}}
{{- $at := $v.config -}}
{{- range splitList "." $path -}}
{{- $at = ternary (get $at .) dict (and (kindIs "map" $at) (hasKey $at .)) -}}
{{- end -}}
{{- if $at -}}
{{- fail (printf "config.%s: the chart writes this itself: take it out of config, and see signingKeys, rules, extraRules and issuers" $path) -}}
{{- end -}}
{{- end -}}
{{- include "portcullis.noSecret" (dict "at" $v.config "path" "config") -}}
{{- include "portcullis.noSecret" (dict "at" $v.issuers "path" "issuers") -}}
{{- include "portcullis.noSecret" (dict "at" $v.rules "path" "rules") -}}
{{- include "portcullis.noSecret" (dict "at" $v.extraRules "path" "extraRules") -}}
{{- if not (or $v.rules $v.extraRules) -}}
{{- fail "there are no rules, and what no rule names is refused: set rules, such as [{ name: app, path_prefix: /, roles: [REGULAR, ADMIN] }]" -}}
{{- end -}}
{{- end -}}

{{/* No secret's value is in a ConfigMap, nor in the values that Helm keeps of a release. */}}
{{- define "portcullis.noSecret" -}}
{{- $path := .path -}}
{{- if kindIs "map" .at -}}
{{- range $key, $value := .at -}}
{{- if has $key (list "secret" "client_secret" "password" "private_key") -}}
{{- fail (printf "%s.%s is a secret's value: name a file in its place (%s_file), and mount it by extraVolumes and extraVolumeMounts" $path $key $key) -}}
{{- end -}}
{{- include "portcullis.noSecret" (dict "at" $value "path" (printf "%s.%s" $path $key)) -}}
{{- end -}}
{{- else if kindIs "slice" .at -}}
{{- range $index, $value := .at -}}
{{- include "portcullis.noSecret" (dict "at" $value "path" (printf "%s[%d]" $path $index)) -}}
{{- end -}}
{{- else if kindIs "string" .at -}}
{{- if regexMatch "^[a-z]+://[^/@]*:[^/@]*@" .at -}}
{{- fail (printf "%s has a password in an address: put it into the Secret of redis.secret" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

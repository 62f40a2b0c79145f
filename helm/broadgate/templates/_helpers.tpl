{{- define "broadgate.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What never changes for a release: selectors are immutable. */}}
{{- define "broadgate.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "broadgate.labels" -}}
{{ include "broadgate.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "broadgate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "broadgate.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "broadgate.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Not empty where there is a Redis. */}}
{{- define "broadgate.hasRedis" -}}
{{- if or (include "broadgate.hasRedisUrl" .) (include "broadgate.hasRedisUrls" .) }}true{{ end }}
{{- end }}

{{/* One server, whose URL is a secret. */}}
{{- define "broadgate.hasRedisUrl" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret .Values.redis.bundled.enabled }}true{{ end }}
{{- end }}

{{/* Sentinels or a cluster, whose URLs are in the configuration. */}}
{{- define "broadgate.hasRedisUrls" -}}
{{- if dig "adapter" "redis" "urls" (list) .Values.config }}true{{ end }}
{{- end }}

{{- define "broadgate.redisUrl" -}}
{{- if .Values.redis.bundled.enabled }}
{{- printf "redis://%s-redis:6379" (include "broadgate.fullname" .) }}
{{- else }}
{{- .Values.redis.url }}
{{- end }}
{{- end }}

{{- define "broadgate.redisSecretName" -}}
{{- default (printf "%s-redis" (include "broadgate.fullname" .)) .Values.redis.existingSecret }}
{{- end }}

{{/* For the NetworkPolicy, as JSON: the URL's port, unless redis.port says another, and those of sentinels and seeds. */}}
{{- define "broadgate.redisPorts" -}}
{{- $host := get (urlParse (include "broadgate.redisUrl" .)) "host" }}
{{- $port := regexFind ":[0-9]+$" $host | trimPrefix ":" | default "6379" | int }}
{{- $ports := list (.Values.redis.port | default $port | int) }}
{{- $default := ternary "26379" "6379" (eq (dig "adapter" "redis" "mode" "" .Values.config) "sentinel") }}
{{- range dig "adapter" "redis" "urls" (list) .Values.config }}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default $default | int) }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}

{{/* The ports that the keys of tokens' issuers are fetched from. */}}
{{- define "broadgate.jwksPorts" -}}
{{- $ports := list }}
{{- range dig "auth" "issuers" (list) .Values.config }}
{{- with .jwks_url }}
{{- $default := ternary "80" "443" (hasPrefix "http:" .) }}
{{- $ports = append $ports (regexFind ":[0-9]+$" (get (urlParse .) "host") | trimPrefix ":" | default $default | int) }}
{{- end }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}

{{/* The port of the receiver of traces, where there is one. */}}
{{- define "broadgate.tracesPort" -}}
{{- with dig "traces" "endpoint" "" .Values.config }}
{{- regexFind ":[0-9]+$" (get (urlParse .) "host") | trimPrefix ":" | default (ternary "80" "443" (hasPrefix "http:" .)) }}
{{- end }}
{{- end }}

{{/* The Secret with the certificate of the public listener; empty where that speaks no TLS. */}}
{{- define "broadgate.tlsSecretName" -}}
{{- if .Values.tls.certManager.enabled }}
{{- printf "%s-tls" (include "broadgate.fullname" .) }}
{{- else }}
{{- .Values.tls.existingSecret }}
{{- end }}
{{- end }}

{{/* Of the public listener. */}}
{{- define "broadgate.scheme" -}}
{{- ternary "https" "http" (not (empty (include "broadgate.tlsSecretName" .))) }}
{{- end }}

{{- define "broadgate.path" -}}
{{- dig "engine" "path" "/socket.io/" .Values.config }}
{{- end }}

{{- define "broadgate.listen" -}}
{{- $address := ternary "[::]" "0.0.0.0" (eq .root.Values.listenAddress "::") }}
{{- printf "%s:%d" $address .port }}
{{- end }}

{{/* The configuration: the values, and what only the chart can know. JSON is a format of the node's, too. */}}
{{- define "broadgate.config" -}}
{{- $server := dict "listen" (include "broadgate.listen" (dict "root" . "port" 8080)) }}
{{- $ops := dict "listen" (include "broadgate.listen" (dict "root" . "port" 8081)) }}
{{- $keys := list }}
{{- range .Values.opsKeys }}
{{- $key := dict "name" .name "key_file" (printf "/etc/broadgate-ops-keys/%s" .name) }}
{{- $keys = append $keys (ternary (merge $key (dict "scopes" .scopes)) $key (hasKey . "scopes")) }}
{{- end }}
{{- if $keys }}
{{- $ops = merge $ops (dict "keys" $keys) }}
{{- end }}
{{- $auth := dict }}
{{- if .Values.issuerSecrets }}
{{- $issuers := list }}
{{- range dig "auth" "issuers" (list) .Values.config }}
{{- $issuer := deepCopy . }}
{{- range $.Values.issuerSecrets }}
{{- if eq .issuer ($issuer.name | default "") }}
{{- $_ := set $issuer (.as | default "key_file") (include "broadgate.issuerFile" .) }}
{{- end }}
{{- end }}
{{- $issuers = append $issuers $issuer }}
{{- end }}
{{- $auth = dict "issuers" $issuers }}
{{- end }}
{{- $adapter := dict "kind" (ternary "redis" "memory" (not (empty (include "broadgate.hasRedis" .)))) }}
{{- $own := dict "server" $server "ops" $ops "adapter" $adapter }}
{{- $traces := dict }}
{{- if .Values.traces.headersKey }}
{{- $_ := set $traces "headers_file" "/etc/broadgate-traces/headers" }}
{{- end }}
{{- if .Values.traces.caKey }}
{{- $_ := set $traces "ca_file" "/etc/broadgate-traces/ca.crt" }}
{{- end }}
{{- if $traces }}
{{- $own = merge $own (dict "traces" $traces) }}
{{- end }}
{{- if $auth }}
{{- $own = merge $own (dict "auth" $auth) }}
{{- end }}
{{- mergeOverwrite (deepCopy .Values.config) $own | toPrettyJson }}
{{- end }}

{{/* Where a Secret of an issuer is mounted; takes an entry of issuerSecrets. */}}
{{- define "broadgate.issuerFile" -}}
{{- printf "/etc/broadgate-issuers/%s.%s" .issuer (.as | default "key_file") }}
{{- end }}

{{/* The one place where the time to stop is computed: what the node may take, and a margin. A pod leaves the Services when it
gets SIGTERM, so the node waits for that itself (server.drain_delay_ms); no preStop hook is needed. */}}
{{- define "broadgate.terminationGracePeriodSeconds" -}}
{{- $timeout := dig "server" "shutdown_timeout_ms" 25000 .Values.config | int }}
{{- add (div (add $timeout 999) 1000) (int .Values.drain.marginSeconds) }}
{{- end }}

{{/* The Secret of a key of the ops API; takes the root and the entry of opsKeys. */}}
{{- define "broadgate.opsKeySecretName" -}}
{{- default (printf "%s-ops-key-%s" (include "broadgate.fullname" .root) (.key.name | lower | replace "_" "-")) .key.existingSecret }}
{{- end }}

{{/* The volume of a key of the ops API with the scope "publish", for the test pod; empty where there is none. */}}
{{- define "broadgate.publishKey" -}}
{{- $found := dict }}
{{- range .Values.opsKeys }}
{{- if and (not $found) (has "publish" (.scopes | default (list "publish"))) }}
{{- $_ := set $found "secretName" (include "broadgate.opsKeySecretName" (dict "root" $ "key" .)) }}
{{- $_ := set $found "items" (list (dict "key" (.existingSecretKey | default "key") "path" "key")) }}
{{- end }}
{{- end }}
{{- if $found }}{{ toYaml $found }}{{ end }}
{{- end }}

{{/* The namespace that the test pod connects to, as JSON. */}}
{{- define "broadgate.firstNamespace" -}}
{{- first (dig "namespaces" (list (dict "name" "/")) .Values.config) | toJson }}
{{- end }}

{{/* What refuses the test pod, which has no token or no key; empty where nothing does. */}}
{{- define "broadgate.testRefusal" -}}
{{- $needed := ternary "required" "optional" (not (empty (dig "auth" "issuers" (list) .Values.config))) }}
{{- $authentication := (include "broadgate.firstNamespace" . | fromJson).authentication | default $needed }}
{{- if and (eq $authentication "required") (not .Values.tests.token.existingSecret) }}
{{- "authentication_required" }}
{{- else if not (or (include "broadgate.publishKey" .) (has "publish" (dig "ops" "anonymous" (list) .Values.config))) }}
{{- "401" }}
{{- end }}
{{- end }}

{{/* Where pods may run. */}}
{{- define "broadgate.placement" -}}
{{- $placement := dict }}
{{- range $key := list "nodeSelector" "tolerations" }}
{{- with get $.Values $key }}
{{- $_ := set $placement $key . }}
{{- end }}
{{- end }}
{{- with $placement }}
{{- toYaml . }}
{{- end }}
{{- end }}

{{- define "broadgate.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What the schema cannot say: values that are wrong together. */}}
{{- define "broadgate.validate" -}}
{{- $redis := .Values.redis }}
{{- $sources := 0 }}
{{- $urls := include "broadgate.hasRedisUrls" . }}
{{- range list $redis.url $redis.existingSecret $redis.bundled.enabled $urls }}
{{- if . }}{{ $sources = add1 $sources }}{{ end }}
{{- end }}
{{- if gt (int $sources) 1 }}
{{- fail "redis: set only one of redis.url, redis.existingSecret, redis.bundled.enabled and config.adapter.redis.urls" }}
{{- end }}
{{- $mode := dig "adapter" "redis" "mode" "standalone" .Values.config }}
{{- if and (ne $mode "standalone") (not $urls) }}
{{- fail (printf "config.adapter.redis.mode %s needs config.adapter.redis.urls" $mode) }}
{{- end }}
{{- if and (eq $mode "standalone") $urls }}
{{- fail "config.adapter.redis.urls need config.adapter.redis.mode: sentinel or cluster" }}
{{- end }}
{{- if and $redis.tls.clientCertificate (not $redis.tls.existingSecret) }}
{{- fail "redis.tls.clientCertificate needs redis.tls.existingSecret" }}
{{- end }}
{{- $scaled := or .Values.autoscaling.enabled .Values.keda.enabled }}
{{- if and (eq (int $sources) 0) (or $scaled (gt (int .Values.replicaCount) 1)) }}
{{- fail "more than one node needs Redis: set redis.url or redis.existingSecret (or redis.bundled.enabled, for trying out)" }}
{{- end }}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled }}
{{- fail "autoscaling.enabled and keda.enabled: two autoscalers for one Deployment; set only one" }}
{{- end }}
{{- range $name := list "autoscaling" "keda" }}
{{- $scaler := get $.Values $name }}
{{- if and $scaler.enabled (gt (int $scaler.minReplicas) (int $scaler.maxReplicas)) }}
{{- fail (printf "%s.minReplicas is more than %s.maxReplicas" $name $name) }}
{{- end }}
{{- end }}
{{- with .Values.autoscaling }}
{{- if and .enabled (not .targetCPUUtilizationPercentage) (not .targetConnectionsPerPod) }}
{{- fail "autoscaling.enabled without a target: set targetCPUUtilizationPercentage or targetConnectionsPerPod" }}
{{- end }}
{{- end }}
{{- if and .Values.keda.enabled (not .Values.keda.prometheusAddress) }}
{{- fail "keda.enabled needs keda.prometheusAddress" }}
{{- end }}
{{- with .Values.config.server | default dict }}
{{- $drain := add (dig "drain_delay_ms" 5000 . | int) (dig "drain_window_ms" 15000 . | int) }}
{{- if and $drain (le (dig "shutdown_timeout_ms" 25000 . | int) (int $drain)) }}
{{- fail "config.server.shutdown_timeout_ms must be more than drain_delay_ms and drain_window_ms together" }}
{{- end }}
{{- end }}
{{- with .Values.traces }}
{{- if ne (empty .existingSecret) (and (empty .headersKey) (empty .caKey)) }}
{{- fail "traces.existingSecret goes with traces.headersKey or traces.caKey" }}
{{- end }}
{{- if and .existingSecret (not (dig "traces" "endpoint" "" $.Values.config)) }}
{{- fail "traces.existingSecret: without config.traces.endpoint there are no traces" }}
{{- end }}
{{- end }}
{{- with .Values.tls.certManager }}
{{- if and .enabled $.Values.tls.existingSecret }}
{{- fail "tls: set only one of tls.existingSecret and tls.certManager.enabled" }}
{{- end }}
{{- if and .enabled (not .issuerRef.name) }}
{{- fail "tls.certManager.enabled needs tls.certManager.issuerRef.name" }}
{{- end }}
{{- end }}
{{- $names := list }}
{{- $secrets := list }}
{{- range .Values.opsKeys }}
{{- $names = append $names .name }}
{{- if not .existingSecret }}
{{- $secrets = append $secrets (include "broadgate.opsKeySecretName" (dict "root" $ "key" .)) }}
{{- end }}
{{- end }}
{{- if ne (len $names) (len (uniq $names)) }}
{{- fail "opsKeys: a name is there twice" }}
{{- end }}
{{- if ne (len $secrets) (len (uniq $secrets)) }}
{{- fail "opsKeys: names that differ only in case, or in _ and -, would have one Secret" }}
{{- end }}
{{- $issuers := list }}
{{- range dig "auth" "issuers" (list) .Values.config }}
{{- $issuers = append $issuers (.name | default "") }}
{{- end }}
{{- $files := list }}
{{- range .Values.issuerSecrets }}
{{- if not (has .issuer $issuers) }}
{{- fail (printf "issuerSecrets: config.auth.issuers has none with the name %q" .issuer) }}
{{- end }}
{{- $files = append $files (include "broadgate.issuerFile" .) }}
{{- end }}
{{- if ne (len $files) (len (uniq $files)) }}
{{- fail "issuerSecrets: an issuer has two Secrets for the same" }}
{{- end }}
{{- if and .Values.ingress.enabled (has .Values.ingress.preset (list "nginx" "traefik" "alb")) (dig "server" "proxy_protocol" false .Values.config) }}
{{- fail (printf "config.server.proxy_protocol: an ingress of %s begins no connection with a PROXY header; it names clients in X-Forwarded-For" .Values.ingress.preset) }}
{{- end }}
{{- if and (or .Values.autoscaling.enabled .Values.keda.enabled) (not (dig "requests" "cpu" "" .Values.resources)) }}
{{- fail "scaling on CPU use is per cent of resources.requests.cpu, which is not set" }}
{{- end }}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled }}
{{- fail "serviceMonitor.enabled and podMonitor.enabled would scrape every pod twice; set only one" }}
{{- end }}
{{- if and (has .Values.rollout.maxSurge (list 0 0.0 "0%")) (has .Values.rollout.maxUnavailable (list 0 0.0 "0%")) }}
{{- fail "rollout.maxSurge and rollout.maxUnavailable are both 0: no pod could ever be replaced" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs" }}
{{- end }}
{{- if le (int .Values.rollout.progressDeadlineSeconds) (int .Values.rollout.minReadySeconds) }}
{{- fail "rollout.progressDeadlineSeconds must be more than rollout.minReadySeconds" }}
{{- end }}
{{- end }}

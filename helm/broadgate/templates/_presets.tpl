{{/*
Annotations of ingress controllers for what sockets and polling need: idle time far above engine.ping_interval_ms, no
buffering, bodies up to engine.max_payload_bytes. None keeps a client on a pod: any node serves any request. Traefik needs no
annotation: it neither buffers nor ends idle sockets, and its other timeouts are the entry point's.
*/}}
{{- define "broadgate.ingressAnnotations" -}}
{{- $maxPayload := dig "engine" "max_payload_bytes" 1000000 .Values.config | int64 -}}
{{- if eq .Values.ingress.preset "nginx" }}
nginx.ingress.kubernetes.io/proxy-read-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-send-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-buffering: "off"
nginx.ingress.kubernetes.io/proxy-request-buffering: "off"
nginx.ingress.kubernetes.io/proxy-body-size: {{ $maxPayload | quote }}
{{- else if eq .Values.ingress.preset "haproxy" }}
haproxy.org/timeout-server: "3600s"
{{- else if eq .Values.ingress.preset "alb" }}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds=3600
alb.ingress.kubernetes.io/healthcheck-path: {{ include "broadgate.path" . }}
alb.ingress.kubernetes.io/success-codes: "400"
{{- else }}
{}
{{- end }}
{{- end }}

{{/*
Annotations of ingress controllers for what sockets and polling need: idle time far above engine.ping_interval_ms, no
buffering, bodies up to engine.max_payload_bytes, and a client's requests on one pod while long-polling needs it.
*/}}
{{- define "broadgate.ingressAnnotations" -}}
{{- $maxPayload := dig "engine" "max_payload_bytes" 1000000 .Values.config | int64 -}}
{{- if eq .Values.ingress.preset "nginx" }}
nginx.ingress.kubernetes.io/proxy-read-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-send-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-buffering: "off"
nginx.ingress.kubernetes.io/proxy-request-buffering: "off"
nginx.ingress.kubernetes.io/proxy-body-size: {{ $maxPayload | quote }}
nginx.ingress.kubernetes.io/upstream-hash-by: "$remote_addr"
{{- else if eq .Values.ingress.preset "haproxy" }}
haproxy.org/load-balance: source
{{- else if eq .Values.ingress.preset "alb" }}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds=3600
alb.ingress.kubernetes.io/target-group-attributes: stickiness.enabled=true,stickiness.type=lb_cookie,stickiness.lb_cookie.duration_seconds=86400
alb.ingress.kubernetes.io/healthcheck-path: {{ include "broadgate.path" . }}
alb.ingress.kubernetes.io/success-codes: "400"
{{- else }}
{}
{{- end }}
{{- end }}

{{/* Traefik takes what concerns the pods from the Service, and its affinity for an Ingress is by cookie. */}}
{{- define "broadgate.serviceAnnotations" -}}
{{- if eq .Values.ingress.preset "traefik" }}
traefik.ingress.kubernetes.io/service.sticky.cookie: "true"
traefik.ingress.kubernetes.io/service.sticky.cookie.name: broadgate_node
traefik.ingress.kubernetes.io/service.sticky.cookie.httponly: "true"
{{- else }}
{}
{{- end }}
{{- end }}

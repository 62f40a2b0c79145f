{{/*
Annotations of ingress controllers for what sockets and polling need: idle time far above engine.ping_interval_ms, no
buffering, bodies up to engine.max_payload_bytes, and TLS to pods that speak it. None keeps a client on a pod: any node serves
any request. Traefik needs no annotation for that: it neither buffers nor ends idle sockets, and its other timeouts are the entry
point's; that pods speak TLS it reads at the Service.
*/}}
{{- define "broadgate.ingressAnnotations" -}}
{{- $maxPayload := dig "engine" "max_payload_bytes" 1000000 .Values.config | int64 -}}
{{- if eq .Values.ingress.preset "nginx" }}
nginx.ingress.kubernetes.io/proxy-read-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-send-timeout: "3600"
nginx.ingress.kubernetes.io/proxy-buffering: "off"
nginx.ingress.kubernetes.io/proxy-request-buffering: "off"
nginx.ingress.kubernetes.io/proxy-body-size: {{ $maxPayload | quote }}
{{- if include "broadgate.tlsSecretName" . }}
nginx.ingress.kubernetes.io/backend-protocol: HTTPS
{{- end }}
{{- else if eq .Values.ingress.preset "haproxy" }}
haproxy.org/timeout-server: "3600s"
{{- if include "broadgate.tlsSecretName" . }}
haproxy.org/server-ssl: "true"
{{- end }}
{{- if dig "server" "proxy_protocol" false .Values.config }}
haproxy.org/send-proxy-protocol: proxy-v2
{{- end }}
{{- else if eq .Values.ingress.preset "haproxy-ingress" }}
haproxy-ingress.github.io/timeout-server: 1h
haproxy-ingress.github.io/timeout-tunnel: 1h
haproxy-ingress.github.io/proxy-body-size: {{ $maxPayload | quote }}
{{- if include "broadgate.tlsSecretName" . }}
haproxy-ingress.github.io/secure-backends: "true"
{{- end }}
{{- if dig "server" "proxy_protocol" false .Values.config }}
haproxy-ingress.github.io/proxy-protocol: v2
{{- end }}
{{- else if eq .Values.ingress.preset "alb" }}
alb.ingress.kubernetes.io/target-type: ip
alb.ingress.kubernetes.io/load-balancer-attributes: idle_timeout.timeout_seconds=3600
alb.ingress.kubernetes.io/healthcheck-path: {{ include "broadgate.path" . }}
alb.ingress.kubernetes.io/success-codes: "400"
{{- if include "broadgate.tlsSecretName" . }}
alb.ingress.kubernetes.io/backend-protocol: HTTPS
{{- end }}
{{- else }}
{}
{{- end }}
{{- end }}

{{/* Of the Service, for Traefik, where its Ingress is meant. */}}
{{- define "broadgate.serviceAnnotations" -}}
{{- if and .Values.ingress.enabled (eq .Values.ingress.preset "traefik") (include "broadgate.tlsSecretName" .) }}
traefik.ingress.kubernetes.io/service.serversscheme: https
{{- else }}
{}
{{- end }}
{{- end }}

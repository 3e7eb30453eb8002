{{/* Rules between values, which the schema cannot express. A broken one fails with what to set. */}}
{{- define "energy.check" -}}
{{- if include "energy.kafka.tokens" . -}}
{{- $sources := compact (list .Values.settings.KAFKA_OAUTH_TOKEN_URL .Values.settings.KAFKA_OAUTH_AWS_REGION .Values.kafka.oauth.serviceAccountAudience) -}}
{{- if ne (len $sources) 1 -}}
{{- fail "settings.KAFKA_SASL_MECHANISM OAUTHBEARER needs exactly one of settings.KAFKA_OAUTH_TOKEN_URL, settings.KAFKA_OAUTH_AWS_REGION and kafka.oauth.serviceAccountAudience" -}}
{{- end -}}
{{- else if .Values.kafka.oauth.serviceAccountAudience -}}
{{- fail "kafka.oauth.serviceAccountAudience needs settings.KAFKA_SASL_MECHANISM OAUTHBEARER" -}}
{{- end -}}
{{- $files := include "energy.kafka.files" . | fromJson -}}
{{- if and $files (not .Values.kafka.secret) -}}
{{- $keys := $files | keys | sortAlpha | join ", " -}}
{{- fail (printf "kafka.secret must name a Secret with %s, because settings.KAFKA_SECURITY_PROTOCOL is %s (without ca.crt: kafka.privateCA: false)" $keys .Values.settings.KAFKA_SECURITY_PROTOCOL) -}}
{{- end -}}
{{- $registry := include "energy.registry.files" . | fromJson -}}
{{- if and $registry (not .Values.schemaRegistry.secret) -}}
{{- fail (printf "schemaRegistry.secret must name a Secret with %s" ($registry | keys | sortAlpha | join ", ")) -}}
{{- end -}}
{{- if .Values.database.cells -}}
{{- if .Values.database.readReplica -}}
{{- fail "database.cells and database.readReplica exclude each other: list the replicas as the cells" -}}
{{- end -}}
{{- if ne (toString .Values.settings.INGESTION_ENABLED) "false" -}}
{{- fail "with database.cells, settings.INGESTION_ENABLED must be false: devices send to the gateway of their cell" -}}
{{- end -}}
{{- end -}}
{{- with .Values.consumer.autoscaling -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "consumer.autoscaling.minReplicas (%v) is greater than maxReplicas (%v)" .minReplicas .maxReplicas) -}}
{{- end -}}
{{- end -}}
{{- if .Values.networkPolicy.enabled -}}
{{- $open := list -}}
{{- range .Values.networkPolicy.kafka.ports }}{{ $open = append $open (int .) }}{{ end -}}
{{- range splitList "," .Values.settings.KAFKA_BOOTSTRAP_SERVERS -}}
{{- if not (has (splitList ":" . | last | int) $open) -}}
{{- fail (printf "networkPolicy.kafka.ports must have the port of %s (settings.KAFKA_BOOTSTRAP_SERVERS)" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Labels that select the pods of this release. */}}
{{- define "energy.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "energy.labels" -}}
{{ include "energy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* A setting as the text of an environment variable: a large number has no exponent. */}}
{{- define "energy.text" -}}
{{ kindIs "string" . | ternary . (toJson .) | quote }}
{{- end }}

{{/* Annotations of pods with metrics: the port. A change of the settings replaces the pods. */}}
{{- define "energy.annotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: {{ .port | quote }}
prometheus.io/path: /metrics
checksum/settings: {{ toJson .root.Values.settings | sha256sum }}
{{- end }}

{{/* What all pods have in common: root, component. */}}
{{- define "energy.pod" -}}
{{- $role := get .root.Values .component -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with $role.nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with $role.tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- with $role.affinity }}
affinity: {{ toJson . }}
{{- end }}
{{- with $role.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Pods of a role on different nodes, where there are enough: root, component. */}}
{{- define "energy.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "energy.selector" .root | nindent 8 }}
        app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* What all containers have in common: root, component. */}}
{{- define "energy.container" -}}
{{- $image := .root.Values.image -}}
{{- $archives := and (not (empty .root.Values.archive.claim)) (has .component (list "api" "maintain")) -}}
{{- $full := or (eq .component "migrate") $archives -}}
{{- $build := ternary $image.full $image $full -}}
{{- $version := printf "%s%s" .root.Chart.AppVersion (ternary "-full" "" $full) -}}
image: {{ $image.repository }}{{ if $build.digest }}@{{ $build.digest }}{{ else }}:{{ $build.tag | default $version }}{{ end }}
imagePullPolicy: {{ $image.pullPolicy }}
resources: {{ toJson (get .root.Values .component).resources }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "energy.database.env" -}}
{{- if .Values.database.url -}}
- {name: DATABASE_URL, value: {{ .Values.database.url | quote }}}
{{- else -}}
- {name: DATABASE_URL_FILE, value: /run/secrets/energy/database-url}
{{- end }}
{{- end }}

{{- define "energy.database.mount" -}}
{{- if not .Values.database.url -}}
- {name: database, mountPath: /run/secrets/energy, readOnly: true}
{{- end }}
{{- end }}

{{/* root, login, and keys: a map from keys of the Secret to names of files. */}}
{{- define "energy.database.volume" -}}
{{- if not .root.Values.database.url -}}
- name: database
  secret:
    secretName: {{ .root.Values.database.secret }}
    defaultMode: 0440
    items:
      {{- range $key, $file := .keys }}
      - {key: {{ $key }}, path: {{ $file }}}
      {{- end }}
      {{- if .root.Values.database.privateCA }}
      - {key: ca.crt, path: ca.crt}
      {{- end }}
      {{- if .root.Values.database.clientCertificates }}
      - {key: {{ .login }}-tls.crt, path: tls.crt}
      - {key: {{ .login }}-tls.key, path: tls.key}
      {{- end }}
{{- end }}
{{- end }}

{{/* Not empty: processes authenticate to Kafka with tokens. */}}
{{- define "energy.kafka.tokens" -}}
{{- $protocol := .Values.settings.KAFKA_SECURITY_PROTOCOL | default "PLAINTEXT" -}}
{{- if and (contains "SASL" $protocol) (eq (toString .Values.settings.KAFKA_SASL_MECHANISM) "OAUTHBEARER") }}true{{ end -}}
{{- end }}

{{/* Keys of the Secret for Kafka that are mounted as files, and the settings that name them. */}}
{{- define "energy.kafka.files" -}}
{{- $protocol := .Values.settings.KAFKA_SECURITY_PROTOCOL | default "PLAINTEXT" -}}
{{- $files := dict -}}
{{- if include "energy.kafka.tokens" . -}}
{{- if .Values.settings.KAFKA_OAUTH_TOKEN_URL -}}
{{- $_ := set $files "client-secret" "KAFKA_OAUTH_CLIENT_SECRET_FILE" -}}
{{- if .Values.kafka.oauth.privateCA }}{{ $_ := set $files "oauth-ca.crt" "KAFKA_OAUTH_SSL_CAFILE" }}{{ end -}}
{{- end -}}
{{- else if contains "SASL" $protocol }}{{ $_ := set $files "password" "KAFKA_SASL_PASSWORD_FILE" }}{{ end -}}
{{- if hasSuffix "SSL" $protocol -}}
{{- if .Values.kafka.privateCA }}{{ $_ := set $files "ca.crt" "KAFKA_SSL_CAFILE" }}{{ end -}}
{{- if .Values.kafka.clientCertificate -}}
{{- $_ := set $files "tls.crt" "KAFKA_SSL_CERTFILE" -}}
{{- $_ := set $files "tls.key" "KAFKA_SSL_KEYFILE" -}}
{{- end -}}
{{- end -}}
{{ toJson $files }}
{{- end }}

{{/* The same for the schema registry, of consumers. */}}
{{- define "energy.registry.files" -}}
{{- $files := dict -}}
{{- if .Values.schemaRegistry.basicAuth }}{{ $_ := set $files "password" "SCHEMA_REGISTRY_PASSWORD_FILE" }}{{ end -}}
{{- if .Values.schemaRegistry.privateCA }}{{ $_ := set $files "ca.crt" "SCHEMA_REGISTRY_SSL_CAFILE" }}{{ end -}}
{{- if .Values.schemaRegistry.clientCertificate -}}
{{- $_ := set $files "tls.crt" "SCHEMA_REGISTRY_SSL_CERTFILE" -}}
{{- $_ := set $files "tls.key" "SCHEMA_REGISTRY_SSL_KEYFILE" -}}
{{- end -}}
{{ toJson $files }}
{{- end }}

{{- define "energy.registry.env" -}}
{{- $files := include "energy.registry.files" . | fromJson -}}
{{- range $key, $name := $files }}
- {name: {{ $name }}, value: /run/secrets/energy-schema-registry/{{ $key }}}
{{- end }}
{{- if hasKey $files "password" }}
- {name: SCHEMA_REGISTRY_USERNAME, valueFrom: {secretKeyRef: {name: {{ .Values.schemaRegistry.secret }}, key: username}}}
{{- end }}
{{- end }}

{{- define "energy.registry.mount" -}}
{{- if include "energy.registry.files" . | fromJson -}}
- {name: schema-registry, mountPath: /run/secrets/energy-schema-registry, readOnly: true}
{{- end }}
{{- end }}

{{- define "energy.registry.volume" -}}
{{- with include "energy.registry.files" . | fromJson -}}
- name: schema-registry
  secret:
    secretName: {{ $.Values.schemaRegistry.secret }}
    defaultMode: 0440
    items:
      {{- range $key, $name := . }}
      - {key: {{ $key }}, path: {{ $key }}}
      {{- end }}
{{- end }}
{{- end }}

{{- define "energy.kafka.env" -}}
{{- $files := include "energy.kafka.files" . | fromJson -}}
{{- range $key, $name := $files }}
- {name: {{ $name }}, value: /run/secrets/energy-kafka/{{ $key }}}
{{- end }}
{{- if hasKey $files "password" }}
- {name: KAFKA_SASL_USERNAME, valueFrom: {secretKeyRef: {name: {{ .Values.kafka.secret }}, key: username}}}
{{- end }}
{{- if hasKey $files "client-secret" }}
- {name: KAFKA_OAUTH_CLIENT_ID, valueFrom: {secretKeyRef: {name: {{ .Values.kafka.secret }}, key: client-id}}}
{{- end }}
{{- if .Values.kafka.oauth.serviceAccountAudience }}
- {name: KAFKA_OAUTH_TOKEN_FILE, value: /run/secrets/energy-kafka-token/token}
{{- end }}
{{- end }}

{{- define "energy.kafka.mount" -}}
{{- if include "energy.kafka.files" . | fromJson -}}
- {name: kafka, mountPath: /run/secrets/energy-kafka, readOnly: true}
{{- end }}
{{- if .Values.kafka.oauth.serviceAccountAudience }}
- {name: kafka-token, mountPath: /run/secrets/energy-kafka-token, readOnly: true}
{{- end }}
{{- end }}

{{- define "energy.kafka.volume" -}}
{{- with include "energy.kafka.files" . | fromJson -}}
- name: kafka
  secret:
    secretName: {{ $.Values.kafka.secret }}
    defaultMode: 0440
    items:
      {{- range $key, $name := . }}
      - {key: {{ $key }}, path: {{ $key }}}
      {{- end }}
{{- end }}
{{- with .Values.kafka.oauth.serviceAccountAudience }}
- name: kafka-token
  projected:
    defaultMode: 0440
    sources: [{serviceAccountToken: {audience: {{ . }}, expirationSeconds: 3600, path: token}}]
{{- end }}
{{- end }}

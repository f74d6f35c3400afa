{{- define "s3veil.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "s3veil.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "s3veil.labels" -}}
{{ include "s3veil.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "s3veil.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "s3veil.name" .) }}{{ else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{- define "s3veil.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}{{ include "s3veil.name" . }}-tls{{ else }}{{ .Values.tls.existingSecret }}{{ end }}
{{- end }}

{{- /* A value of TOML. Numbers of a values file are floating-point, those of proxy.toml are whole. */ -}}
{{- define "s3veil.toml.value" -}}
{{- if kindIs "string" . }}{{ toJson . }}
{{- else if kindIs "bool" . }}{{ . }}
{{- else if kindIs "map" . }}{ {{- range $index, $key := keys . | sortAlpha }}{{ if $index }},{{ end }} {{ $key }} = {{ include "s3veil.toml.value" (get $ $key) }}{{ end }} }
{{- else if kindIs "slice" . }}[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "s3veil.toml.value" $item }}{{ end }}]
{{- else }}{{ int64 . }}
{{- end }}
{{- end }}

{{- /* Lines `key = value` of a table; keys without a value are left out. */ -}}
{{- define "s3veil.toml.table" -}}
{{- $table := . }}
{{- range $key := keys . | sortAlpha }}
{{- $value := get $table $key }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "s3veil.toml.value" $value }}
{{- end }}
{{- end }}
{{- end }}

{{- /* proxy.toml as a whole. */ -}}
{{- define "s3veil.toml" -}}
{{- $listen := dict "address" "0.0.0.0:8333" "drain_delay" (printf "%ds" (int .Values.drain.delaySeconds)) "drain_timeout" (printf "%ds" (int .Values.drain.timeoutSeconds)) }}
{{- if include "s3veil.tlsSecret" . }}
{{- $tls := dict "certificate" "/etc/s3veil/tls/tls.crt" "private_key" "/etc/s3veil/tls/tls.key" }}
{{- if .Values.tls.clientCA.existingSecret }}
{{- $_ := set $tls "client_ca" "/etc/s3veil/client-ca/ca.crt" }}
{{- $_ := set $tls "client_certificate" (ternary "required" "optional" .Values.tls.clientCA.required) }}
{{- end }}
{{- $_ := set $listen "tls" $tls }}
{{- else if .Values.tls.clientCA.existingSecret }}
{{- fail "tls.clientCA requires tls.existingSecret or tls.certManager" }}
{{- end }}
{{- $admin := dict "address" "0.0.0.0:9333" }}
{{- if .Values.admin.bearerToken.existingSecret }}
{{- $_ := set $admin "bearer_token_file" "/etc/s3veil/admin/token" }}
{{- end }}
{{- if .Values.admin.tls.existingSecret }}
{{- $_ := set $admin "tls" (dict "certificate" "/etc/s3veil/admin-tls/tls.crt" "private_key" "/etc/s3veil/admin-tls/tls.key") }}
{{- end }}
{{- range $key := list "address" "tls" "drain_delay" "drain_timeout" "reuse_port" }}
{{- if hasKey ($.Values.config.listen | default dict) $key }}
{{- fail (printf "config.listen.%s is written by the chart: set service, tls or drain instead" $key) }}
{{- end }}
{{- end }}
{{- range $name := list "upstream" "keyring" }}
{{- if not (get $.Values.config $name) }}
{{- fail (printf "config.%s is missing" $name) }}
{{- end }}
{{- end }}
{{- if not .Values.config.client }}
{{- fail "config.client is missing: name at least one client, with secret_access_key_file or secret_access_key = \"env:NAME\"" }}
{{- end }}
{{- $tables := merge (dict "listen" (merge $listen (.Values.config.listen | default dict)) "admin" $admin) (omit .Values.config "listen" "admin") }}
{{- range $name := keys $tables | sortAlpha }}
{{- $content := get $tables $name }}
{{- if kindIs "slice" $content }}
{{- range $content }}
[[{{ $name }}]]
{{- include "s3veil.toml.table" . }}
{{ end }}
{{- else if $content }}
[{{ $name }}]
{{- include "s3veil.toml.table" $content }}
{{ end }}
{{- end }}
{{- end }}

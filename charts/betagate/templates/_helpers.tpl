{{- define "betagate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "betagate.fullname" -}}
{{- if contains (include "betagate.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "betagate.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "betagate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: betagate
{{ include "betagate.selector" . }}
{{- end }}

{{- define "betagate.selector" -}}
app.kubernetes.io/name: {{ include "betagate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "betagate.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "betagate.serviceAccount" -}}
{{- default (include "betagate.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{/* The account under which commands run whose document names none. */}}
{{- define "betagate.jobAccount" -}}
{{- default (printf "%s-jobs" (include "betagate.fullname" .)) .Values.jobs.account.name }}
{{- end }}

{{/* The user as which the API server knows the controller. */}}
{{- define "betagate.user" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "betagate.serviceAccount" .) }}
{{- end }}

{{- define "betagate.keysSecret" -}}
{{- default (printf "%s-keys" (include "betagate.fullname" .)) .Values.keys.existingSecret }}
{{- end }}

{{- define "betagate.databaseSecret" -}}
{{- default (printf "%s-database" (include "betagate.fullname" .)) .Values.database.existingSecret }}
{{- end }}

{{/* The Secrets beside those two that are the installation's own. */}}
{{- define "betagate.withheldSecrets" -}}
{{- $own := list .Values.secrets.existingSecret .Values.git.existingSecret }}
{{- range .Values.imagePullSecrets }}{{ $own = append $own .name }}{{ end }}
{{- $own | compact | uniq | join "," }}
{{- end }}

{{/* What every container of ours may do: nothing. It passes the restricted profile. */}}
{{- define "betagate.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}

{{- define "betagate.podSecurity" -}}
runAsNonRoot: true
seccompProfile: { type: RuntimeDefault }
{{- end }}

{{/* A name for what belongs to no namespace: several installations, one a namespace, stand side by side. */}}
{{- define "betagate.clusterName" -}}
{{- printf "%s-%s" (include "betagate.fullname" .) .Release.Namespace | trunc 60 | trimSuffix "-" }}
{{- end }}

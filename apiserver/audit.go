package apiserver

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"clipper/apiserver/yamltext"
)

var noCache = []string{"no-cache, private"}

// identify gives the request its identity, and the answer the headers that all have.
func (q *request) identify() {
	h := q.w.Header()
	q.auditID = q.r.Header.Get("Audit-Id")
	if q.auditID == "" {
		q.auditID = randomUUID()
	}
	h["Audit-Id"] = []string{q.auditID}
	h["Cache-Control"] = noCache
}

// What follows does nothing without an audit policy, and nothing for a request that the policy leaves out:
// q.record is nil then.

// beginAudit starts the record of a request whose user is known, or of one that could not be authenticated.
func (q *request) beginAudit() bool {
	if q.s.options.Audit == nil {
		return false
	}
	attributes := q.attributes()
	ctx, record, ok := q.s.options.Audit.Begin(q.r.Context(), attributes)
	if !ok {
		return false
	}
	audit.WithAuditID(ctx, types.UID(q.auditID))
	audit.LogRequestMetadata(ctx, q.r, q.start, attributes)
	q.record, q.r = record, q.r.WithContext(ctx)
	return true
}

// received records that the request has come. It fails if the policy's back end insists on being heard.
func (q *request) received() error {
	if !q.beginAudit() || q.record.ProcessEventStage(q.r.Context(), auditinternal.StageRequestReceived) {
		return nil
	}
	audit.ApiserverAuditDroppedCounter.Inc()
	q.record = nil
	return apierrors.NewInternalError(fmt.Errorf("failed to store audit event"))
}

// refused records that nobody knows who the client is.
func (q *request) refused() {
	if !q.beginAudit() {
		return
	}
	q.record.SetEventResponseStatus(&metav1.Status{Message: "Authentication failed, " + credentials(q.r)})
	q.answering(http.StatusUnauthorized, true)
	q.record = nil // there is no more to come
}

// credentials says how the client tried to authenticate.
func credentials(r *http.Request) string {
	var tried []string
	if _, _, ok := r.BasicAuth(); ok {
		tried = append(tried, "basic")
	}
	if scheme, _, ok := strings.Cut(strings.TrimSpace(r.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "bearer") {
		tried = append(tried, "bearer")
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		tried = append(tried, "x509")
	}
	if len(tried) == 0 {
		return "no credentials provided"
	}
	return "attempted: " + strings.Join(tried, ", ")
}

// decided records what authorization said.
func (q *request) decided(reason string, err error) {
	if q.record == nil {
		return
	}
	const decision, why = "authorization.k8s.io/decision", "authorization.k8s.io/reason"
	switch {
	case err == nil:
		audit.AddAuditAnnotations(q.r.Context(), decision, "allow", why, reason)
	case apierrors.IsForbidden(err):
		audit.AddAuditAnnotations(q.r.Context(), decision, "forbid", why, reason)
	default:
		audit.AddAuditAnnotations(q.r.Context(), why, "internal error")
	}
}

// bodyRead records the object that came with the request.
func (q *request) bodyRead(body []byte) {
	if q.record == nil || len(body) == 0 || q.kind == nil {
		return
	}
	if q.info.Verb == "patch" {
		audit.LogRequestPatch(q.r.Context(), body)
		return
	}
	obj, err := q.parsed(body)
	if err != nil {
		return // the client learns soon enough
	}
	audit.LogRequestObject(q.r.Context(), obj, q.kind.GVK.GroupVersion(), q.kind.GVR, q.info.Subresource, auditCodecs)
}

var auditCodecs = scheme.Codecs.WithoutConversion()

// parsed reads a body without looking what it should be.
func (q *request) parsed(body []byte) (runtime.Object, error) {
	f, err := q.inputFormat()
	switch {
	case err != nil:
		return nil, err
	case f == formatProtobuf:
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(body, nil, nil)
		return obj, err
	case f == formatCBOR:
		obj := &unstructured.Unstructured{}
		if _, _, err := openCBOR(body, obj, q.kind.GVK, false); err != nil {
			return nil, err
		}
		return obj, nil
	case f == formatYAML:
		done, err := yamltext.Turn(q.r.Context(), len(body))
		if err != nil {
			return nil, err
		}
		defer done()
		if body, err = yaml.YAMLToJSON(body); err != nil {
			return nil, err
		}
	}
	obj := &unstructured.Unstructured{}
	if err := json.Unmarshal(body, &obj.Object); err != nil {
		return nil, err
	}
	if obj.GetKind() == "" || obj.GetAPIVersion() == "" {
		obj.SetGroupVersionKind(q.kind.GVK)
	}
	return obj, nil
}

// answering records the code of the answer, and for a request that will last that the answer has begun.
func (q *request) answering(code int, lasting bool) {
	if q.record == nil {
		return
	}
	q.record.SetEventResponseStatusCode(int32(code))
	if lasting {
		q.record.ProcessEventStage(q.r.Context(), auditinternal.StageResponseStarted)
	}
}

// answeredWith records a Status.
func (q *request) answeredWith(status *metav1.Status) {
	if q.record != nil {
		q.record.LogResponseObject(status, nil)
	}
}

// recording returns where the body of the answer should go so that the record gets it, too: out itself if
// it is not wanted.
func (q *request) recording(out io.WriteCloser, contentType string) io.WriteCloser {
	if q.record == nil || q.record.GetEventLevel().Less(auditinternal.LevelRequestResponse) {
		return out
	}
	return &recordedBody{WriteCloser: out, q: q, contentType: contentType}
}

// A recordedBody keeps what is written.
type recordedBody struct {
	io.WriteCloser
	q           *request
	contentType string
	body        bytes.Buffer
}

func (b *recordedBody) Write(p []byte) (int, error) {
	b.body.Write(p)
	return b.WriteCloser.Write(p)
}

func (b *recordedBody) Close() error {
	if raw, err := b.json(); err == nil {
		b.q.record.LogResponseObject(nil, &runtime.Unknown{Raw: raw, ContentType: runtime.ContentTypeJSON})
	}
	return b.WriteCloser.Close()
}

func (b *recordedBody) json() ([]byte, error) {
	raw := b.body.Bytes()
	switch b.contentType {
	case typeProtobuf:
		obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(raw, nil, nil)
		if err != nil {
			return nil, err
		}
		if raw, err = json.Marshal(obj); err != nil {
			return nil, err
		}
	case typeCBOR:
		obj := &unstructured.Unstructured{}
		_, _, err := openCBOR(raw, obj, b.q.kind.GVK, false)
		if err != nil {
			return nil, err
		}
		if raw, err = obj.MarshalJSON(); err != nil {
			return nil, err
		}
	case typeYAML:
		var err error
		if raw, err = yaml.YAMLToJSON(raw); err != nil {
			return nil, err
		}
	}
	if !b.q.s.options.Audit.OmitsManagedFields(b.q.attributes()) {
		return raw, nil
	}
	return withoutManagedFields(raw)
}

// withoutManagedFields drops them from an object or from the items of a list.
func withoutManagedFields(raw []byte) ([]byte, error) {
	content := map[string]any{}
	if err := json.Unmarshal(raw, &content); err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(content, "metadata", "managedFields")
	items, _ := content["items"].([]any)
	for _, item := range items {
		if object, ok := item.(map[string]any); ok {
			unstructured.RemoveNestedField(object, "metadata", "managedFields")
		}
	}
	return json.Marshal(content)
}

// panicked records that the server could not cope.
func (q *request) panicked(cause any) {
	if q.record == nil {
		return
	}
	q.record.SetEventResponseStatus(&metav1.Status{
		Code: http.StatusInternalServerError, Status: metav1.StatusFailure, Reason: metav1.StatusReasonInternalError,
		Message: fmt.Sprintf("APIServer panic'd: %v", cause),
	})
	q.record.ProcessEventStage(q.r.Context(), auditinternal.StagePanic)
	q.record = nil
}

// endAudit completes the record.
func (q *request) endAudit(now time.Time) {
	if q.record == nil {
		return
	}
	const slow = 500 * time.Millisecond
	if q.record.GetEventResponseStatus() == nil && q.code != 0 {
		q.answering(q.code, q.long)
	}
	if q.record.GetEventResponseStatus() == nil {
		q.record.SetEventResponseStatus(&metav1.Status{Code: http.StatusOK, Status: metav1.StatusSuccess, Message: "Connection closed early"})
		if q.long {
			q.record.ProcessEventStage(q.r.Context(), auditinternal.StageResponseStarted)
		}
	}
	if took := now.Sub(q.start); took > slow && !q.long {
		audit.AddAuditAnnotation(q.r.Context(), "apiserver.latency.k8s.io/total", took.String())
	}
	if q.kind != nil && q.kind.Deprecated != "" {
		audit.AddAuditAnnotation(q.r.Context(), "k8s.io/deprecated", "true")
	}
	q.record.ProcessEventStage(q.r.Context(), auditinternal.StageResponseComplete)
}

// randomUUID is for telling requests apart in logs, not for secrets.
func randomUUID() string {
	var b [16]byte
	hi, lo := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		b[i], b[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[:8], b[:4])
	hex.Encode(out[9:13], b[4:6])
	hex.Encode(out[14:18], b[6:8])
	hex.Encode(out[19:23], b[8:10])
	hex.Encode(out[24:], b[10:])
	out[8], out[13], out[18], out[23] = '-', '-', '-', '-'
	return string(out[:])
}

package member

import (
	"context"
	"log/slog"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger passes on what etcd has to say from warnings upwards. Its fatal messages end the process, as
// they do etcd's own: they mean that its files are damaged.
func newLogger(name string) *zap.Logger {
	return zap.New(core{log: slog.With("etcd", name)})
}

// A core writes zap's records to slog.
type core struct {
	log    *slog.Logger
	fields []zapcore.Field
}

// Enabled implements zapcore.Core.
func (core) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With implements zapcore.Core.
func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements zapcore.Core.
func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if !c.Enabled(e.Level) {
		return ce
	}
	return ce.AddCore(e, c)
}

// Write implements zapcore.Core.
func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelInfo
	if e.Level > zapcore.WarnLevel { // most of its warnings are advice
		level = slog.LevelError
	}
	r := slog.NewRecord(time.Now(), level, e.Message, 0)
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range append(c.fields[:len(c.fields):len(c.fields)], fields...) {
		f.AddTo(enc)
	}
	for k, v := range enc.Fields {
		r.Add(k, v)
	}
	return c.log.Handler().Handle(context.Background(), r)
}

// Sync implements zapcore.Core.
func (core) Sync() error { return nil }

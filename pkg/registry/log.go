package registry

import (
	"context"
	"io"
	"log/slog"
	"reflect"

	"github.com/distribution/distribution/v3/registry/handlers"
	"github.com/sirupsen/logrus"
)

// A logContext hands Distribution a logger of our own. Distribution takes its
// logger from the context, under a key that only it can name, and falls back to
// a global one that writes to standard error; the key is told by its type.
type logContext struct {
	context.Context
	entry *logrus.Entry
}

// Value returns the logger when asked for one.
func (c logContext) Value(key any) any {
	if isLoggerKey(key) {
		return c.entry
	}
	return c.Context.Value(key)
}

func isLoggerKey(key any) bool {
	t := reflect.TypeOf(key)
	return t != nil && t.Kind() == reflect.Struct && t.Name() == "loggerKey" &&
		t.PkgPath() == "github.com/distribution/distribution/v3/internal/dcontext"
}

// newLog returns a logrus logger that writes to l alone, or nowhere.
func newLog(l *slog.Logger) *logrus.Entry {
	logger := logrus.New()
	logger.Out = io.Discard
	logger.Level = logrus.PanicLevel
	if l != nil && l.Enabled(context.Background(), slog.LevelDebug) {
		logger.Level = logrus.InfoLevel
		logger.AddHook(slogHook{l})
	}
	return logrus.NewEntry(logger)
}

type slogHook struct{ to *slog.Logger }

// Levels says that all levels are wanted.
func (slogHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire passes one line on. Every level becomes Debug, because a library says
// nothing louder; the original is kept as an attribute.
func (h slogHook) Fire(e *logrus.Entry) error {
	attrs := make([]slog.Attr, 0, len(e.Data)+1)
	attrs = append(attrs, slog.String("severity", e.Level.String()))
	for key, value := range e.Data {
		attrs = append(attrs, slog.Any(key, value))
	}
	h.to.LogAttrs(context.Background(), slog.LevelDebug, e.Message, attrs...)
	return nil
}

// closeEvents ends the goroutine that NewApp starts for notifications and that
// its Shutdown forgets. The field is not exported, so it is read by address;
// where a later version has none, there is nothing to do.
func closeEvents(app *handlers.App) error {
	events := reflect.ValueOf(app).Elem().FieldByName("events")
	if !events.IsValid() || events.Kind() != reflect.Struct {
		return nil
	}
	sink := events.FieldByName("sink")
	if !sink.IsValid() || !sink.CanAddr() {
		return nil
	}
	closer, ok := reflect.NewAt(sink.Type(), sink.Addr().UnsafePointer()).Elem().Interface().(io.Closer)
	if !ok {
		return nil
	}
	return closer.Close()
}

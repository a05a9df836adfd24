package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/modelreg/modelreg/pkg/card"
)

// exportCard writes a card in another form.
func (a *app) exportCard(ctx context.Context, arg string, f bomFlags) error {
	var raw []byte
	var err error
	switch f.form {
	case "html", "json":
		raw, err = a.exportText(ctx, arg, f)
	default:
		raw, err = a.bill(ctx, arg, f)
	}
	if err != nil {
		return err
	}
	return a.writeDocument(raw, f.output)
}

func (a *app) exportText(ctx context.Context, arg string, f bomFlags) ([]byte, error) {
	s, err := a.fetchCard(ctx, arg, f.card)
	if err != nil {
		return nil, err
	}
	if f.form == "html" {
		html, err := s.card.HTML(card.HTMLOptions{})
		if err != nil {
			return nil, fmt.Errorf("export card of %s: %w", s.name(), err)
		}
		return html, nil
	}
	res, err := s.shown()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(res); err != nil {
		return nil, fmt.Errorf("export card of %s: %w", s.name(), err)
	}
	return out.Bytes(), nil
}

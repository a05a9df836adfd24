package scan

import (
	"slices"
	"strings"
)

// collect follows the opcodes that make and fill containers.
func (m *machine) collect(code byte) error {
	switch code {
	case opEmptyTuple:
		return m.push(m.tuple(nil))
	case opTuple1, opTuple2, opTuple3:
		n := int(code) - opTuple1 + 1
		if err := m.need(n); err != nil {
			return err
		}
		v := m.tuple(m.stack[len(m.stack)-n:])
		m.cut(len(m.stack) - n)
		return m.push(v)
	case opEmptyList:
		return m.push(value{kind: vList})
	case opEmptySet:
		return m.push(value{kind: vSet})
	case opEmptyDict:
		return m.newDict(nil)
	case opAppend:
		v, err := m.pop()
		if err != nil {
			return err
		}
		return m.fill([]value{v}, false)
	case opSetItem:
		if err := m.need(2); err != nil {
			return err
		}
		n := len(m.stack) - 2
		items := []value{m.stack[n], m.stack[n+1]}
		m.cut(n)
		return m.fill(items, true)
	case opTuple, opList, opDict, opFrozenSet, opAppends, opAddItems, opSetItems, opObj:
		items, err := m.popMark()
		if err != nil {
			return err
		}
		return m.marked(code, items)
	}
	return m.apply(code)
}

// marked follows the opcodes that take all down to a mark.
func (m *machine) marked(code byte, items []value) error {
	switch code {
	case opTuple:
		return m.push(m.tuple(items))
	case opList:
		m.escape(items)
		return m.push(value{kind: vList})
	case opFrozenSet:
		m.escape(items)
		return m.push(value{kind: vSet})
	case opDict:
		return m.newDict(items)
	case opObj:
		return m.obj(items)
	}
	return m.fill(items, code == opSetItems)
}

// newDict pushes a dictionary.
func (m *machine) newDict(items []value) error {
	if len(items)%2 != 0 {
		return m.fault("a dictionary of an odd number of keys and values")
	}
	if len(m.dicts) >= maxDicts>>m.shift {
		return m.limit("too many dictionaries")
	}
	d := dict{fields: true, sized: true}
	m.escape(items)
	for i := 0; i < len(items); i += 2 {
		m.set(&d, items[i], items[i+1])
	}
	if m.forked && !m.cloned {
		return m.push(value{kind: vSet}) // nothing that counts may hang on it
	}
	m.dicts = append(m.dicts, d)
	return m.push(value{kind: vDict, off: int64(len(m.dicts) - 1)})
}

// fill puts items into the container on the top.
func (m *machine) fill(items []value, pairs bool) error {
	target, err := m.top()
	if err != nil {
		return err
	}
	if pairs && len(items)%2 != 0 {
		return m.fault("sets an odd number of keys and values")
	}
	m.escape(items)
	switch target.kind {
	case vDict:
		if !pairs {
			return m.fault("appends to a dictionary")
		}
		for i := 0; i < len(items) && (!m.forked || m.cloned); i += 2 {
			m.set(&m.dicts[target.off], items[i], items[i+1])
		}
	case vList, vSet, vResult, vTainted:
	case vPlain, vInt, vText, vLongText, vTuple, vLongTuple:
		return m.fault("fills what is no container")
	case vGlobal:
		m.calls++
		m.find("pickle-operand", "sets items of %s", m.globals[target.off])
	default:
		m.calls++
		m.find("pickle-operand", "sets items of what is no container")
	}
	return nil
}

// escape reports functions that may only be called with certain arguments, and
// are put where anybody can call them.
func (m *machine) escape(items []value) {
	m.use(items)
	for _, v := range items {
		if !m.isRestricted(v) {
			continue
		}
		if g, ok := m.class(v); ok {
			m.find("pickle-call", "hands %s to others", g)
		} else {
			m.find("pickle-call", "hands around a function that is harmless only with some arguments")
		}
	}
}

// apply follows the opcodes that import and call.
func (m *machine) apply(code byte) error {
	switch code {
	case opStackGlobal:
		return m.stackGlobal()
	case opBinPersID:
		v, err := m.pop()
		if err != nil {
			return err
		}
		return m.push(m.persistent(v))
	case opBuild:
		return m.build()
	case opNewObjEx:
		if err := m.need(3); err != nil {
			return err
		}
		n := len(m.stack) - 3
		callee, args, kwargs := m.stack[n], m.stack[n+1], m.stack[n+2]
		m.cut(n)
		if g, ok := m.class(callee); ok && g.entry != nil && g.entry.check != nil {
			m.find("pickle-call", "calls %s with named arguments", g)
		}
		m.escape([]value{kwargs})
		return m.call(callee, args, true)
	}
	// REDUCE, NEWOBJ
	if err := m.need(2); err != nil {
		return err
	}
	n := len(m.stack) - 2
	callee, args := m.stack[n], m.stack[n+1]
	m.cut(n)
	return m.call(callee, args, code == opNewObj)
}

// load imports a name.
func (m *machine) load(module, name string) (value, error) {
	if len(module)+len(name) > maxName {
		m.imports++
		m.find("pickle-import", "imports a name of %d bytes from %.80s", len(name), module)
		return value{}, nil
	}
	key := [2]string{module, name}
	i, ok := m.names[key]
	if !ok {
		if len(m.globals) >= maxGlobals {
			return value{}, m.limit("too many imports")
		}
		i = int64(len(m.globals))
		if !m.forked {
			if m.names == nil {
				m.names = make(map[[2]string]int64)
			}
			m.names[key] = i
		}
		m.globals = append(m.globals, global{module, name, allowed(module, name)})
	}
	m.imports++
	if g := m.globals[i]; m.ctx.torch && strings.HasPrefix(module, "__torch__") {
		m.find("torchscript", "has objects of classes that are TorchScript")
	} else if g.entry == nil {
		rule, why := "pickle-import", "imports %s"
		if harmful(module, name) {
			rule = "pickle-dangerous-import"
		}
		m.find(rule, why, cutName(g.String()))
	}
	return value{kind: vGlobal, off: i}, nil
}

// cutName cuts what is too long for a message.
func cutName(s string) string {
	if len(s) > 200 {
		s = s[:200] + "…"
	}
	return s
}

func (m *machine) stackGlobal() error {
	if err := m.need(2); err != nil {
		return err
	}
	n := len(m.stack) - 2
	module, ok1 := m.text(m.stack[n])
	name, ok2 := m.text(m.stack[n+1])
	for _, v := range m.stack[n:] {
		switch v.kind {
		case vPlain, vInt, vTuple, vLongTuple, vList, vDict, vSet, vGlobal, vBytes, vLongBytes:
			return m.fault("imports what is no string")
		}
	}
	m.cut(n)
	if !ok1 || !ok2 {
		m.imports++
		m.find("pickle-operand", "computes the name that it imports")
		return m.push(value{})
	}
	v, err := m.load(module, name)
	if err != nil {
		return err
	}
	return m.push(v)
}

// inst follows INST: a class by name, called with what is above the mark.
func (m *machine) inst(module, name string) error {
	items, err := m.popMark()
	if err != nil {
		return err
	}
	v, err := m.load(module, name)
	if err != nil {
		return err
	}
	m.find("pickle-opcode", "calls %s by INST", cutName(m.globals[v.off].String()))
	return m.call(v, m.tuple(items), true)
}

// obj follows OBJ: a class with its arguments above the mark.
func (m *machine) obj(items []value) error {
	if len(items) == 0 {
		return m.fault("calls nothing")
	}
	what := "what it has made"
	if g, ok := m.class(items[0]); ok {
		what = cutName(g.String())
	}
	m.find("pickle-opcode", "calls %s by OBJ", what)
	callee, args := items[0], m.tuple(items[1:])
	return m.call(callee, args, true)
}

// call follows a call of callee. It pushes the result.
func (m *machine) call(callee, args value, isNew bool) error {
	switch args.kind {
	case vTuple, vLongTuple, vTainted, vResult:
	default:
		return m.fault("calls with what is no tuple")
	}
	m.calls++
	switch callee.kind {
	case vTainted:
		m.escape([]value{args})
		return m.push(value{})
	case vGlobal:
	case vResult, vDType, vArray, vStorage:
		m.find("pickle-operand", "calls what it has made")
		return m.push(value{})
	default:
		return m.fault("calls what cannot be called")
	}
	g := m.globals[callee.off]
	if g.entry == nil {
		m.escape([]value{args})
		return m.push(value{}) // the import is reported
	}
	items, ok := m.args(args)
	switch {
	case g.entry.check == nil:
		m.escape(items)
		if args.kind == vLongTuple {
			m.escape([]value{args})
		}
	case !ok:
		m.find("pickle-call", "calls %s with arguments that cannot be told", g)
	default:
		if why := g.entry.check(m, items); why != "" {
			m.find("pickle-call", "calls %s %s", g, why)
		}
	}
	if g.entry.nested {
		if err := m.loadBytes(items); err != nil {
			return err
		}
	}
	return m.push(m.result(callee, g, items))
}

// result is what a call of an allowed name returns.
func (m *machine) result(callee value, g global, args []value) value {
	switch {
	case g.entry.result == vDType:
		return m.newDType(args)
	case g.entry.result == vArray:
		return value{kind: vArray}
	}
	return value{kind: vResult, off: callee.off}
}

// build follows BUILD: the state of the value below the top.
func (m *machine) build() error {
	state, err := m.pop()
	if err != nil {
		return err
	}
	target, err := m.top()
	if err != nil {
		return err
	}
	m.calls++
	m.escape([]value{state})
	switch target.kind {
	case vTainted:
		return nil
	case vGlobal:
		m.find("pickle-build", "sets the state of %s itself", m.globals[target.off])
		return nil
	case vDType:
		m.setDType(target, state)
		return nil
	case vArray:
		return m.joblibArray(state)
	case vResult:
	default:
		m.find("pickle-build", "sets the state of what has none")
		return nil
	}
	m.checkState(target, state)
	return nil
}

// checkState reports states with attributes by which Python runs code.
func (m *machine) checkState(target, state value) {
	g, _ := m.class(target)
	states := []value{state}
	if items, ok := m.args(state); ok {
		states = items
	}
	for _, v := range states {
		switch {
		case v.kind == vDict && m.dicts[v.off].dunder:
			m.find("pickle-build", "sets attributes of %s by which Python runs code", g)
		case v.kind == vDict && m.dicts[v.off].other:
			m.find("pickle-build", "sets attributes of %s with names that cannot be told", g)
		}
	}
	// Python takes a pair for attributes and slots, unless a class has a way of
	// its own, as NumPy's generators have.
	isPair := len(states) == 2 && !strings.HasPrefix(g.module, "numpy.")
	if isMade(state) || isPair && slices.ContainsFunc(states, isMade) {
		m.find("pickle-build", "sets the state of %s by what cannot be told", g)
	}
}

// isMade tells a value that is made by a call, or a class itself.
func isMade(v value) bool { return v.kind == vResult || v.kind == vGlobal }

// persistent is what a persistent id stands for: in PyTorch's files a storage.
func (m *machine) persistent(id value) value {
	if s, key, ok := m.storageOf(id); ok && m.ctx.torch {
		if m.forked {
			return value{kind: vStorage}
		}
		if _, there := m.storages[key]; !there && len(m.storages) < maxDTypes {
			if m.storages == nil {
				m.storages = make(map[string]storage)
			}
			m.storages[strings.Clone(key)] = s
		}
		return value{kind: vStorage}
	}
	m.find("pickle-opcode", "has a persistent id that is no storage")
	return value{}
}

// storageOf reads ("storage", class, key, location, elements, ...).
func (m *machine) storageOf(id value) (storage, string, bool) {
	items, ok := m.args(id)
	if !ok || len(items) < 5 || len(items) > 6 {
		return storage{}, "", false
	}
	word, _ := m.text(items[0])
	class, isClass := m.class(items[1])
	key, isKey := m.text(items[2])
	_, isPlace := m.text(items[3])
	if word != "storage" || !isClass || items[1].kind != vGlobal || !isKey || !isPlace || items[4].kind != vInt || items[4].off < 0 {
		return storage{}, "", false
	}
	if class.entry == nil || !slices.Contains(storageModules, class.module) || !strings.HasSuffix(class.name, "Storage") {
		return storage{}, "", false
	}
	return storage{class.name, items[4].off}, key, true
}

var storageModules = []string{"torch", "torch.storage", "torch.cuda"}

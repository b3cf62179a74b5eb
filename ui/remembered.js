async facts => {
    // Returns the updates that show what was kept when the page was open before; see remembered.py.
    const KEY = "hearthtune.entered", {kept, tabs, inner, outer, same} = facts;
    const waitForDrawing = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    let before = {};
    try {
        before = JSON.parse(localStorage.getItem(KEY)) ?? {};
    } catch { /* the browser refuses its storage to this page, or what is there is damaged: nothing was kept */ }
    // A choice may be gone since, such as a preset. The page's source has those that there are now.
    const parts = Object.fromEntries(window.gradio_config.components.map(({props}) => [props.elem_id, props]));
    const isChoice = (value, {choices, allow_custom_value}) => !choices || allow_custom_value ||
        [value].flat().every(one => choices.some(([, choice]) => choice === one));
    const updates = kept.map(name =>
        name in before && isChoice(before[name], parts[name]) ? {value: before[name], ...same} : same);

    const asked = location.hash.slice(1);
    const open = inner.includes(asked) ? outer : tabs.includes(asked) ? asked : null;
    updates.push(open ? {selected: open, ...same} : same);
    updates.push(inner.includes(asked) ? {selected: asked, ...same} : same);
    await waitForDrawing();  // a field that is being made would begin with its first value all the same

    // Only once the updates are drawn: until then the page would keep what it began with in their place.
    waitForDrawing().then(() => {
        window.keepEntered = values => {
            const entered = Object.fromEntries(kept.map((name, place) => [name, values[place]]));
            try {
                localStorage.setItem(KEY, JSON.stringify(entered));
            } catch { /* refused, or full: the page works without */ }
        };
        window.keepTab = async () => {
            await waitForDrawing();  // a tab is shown a moment after it was pressed
            const open = [...document.querySelectorAll('[role="tab"][aria-selected="true"]')];
            const name = open.filter(tab => tab.checkVisibility()).at(-1)?.id.replace(/-tab-button$/, "");
            if (name) history.replaceState(history.state, "", name === tabs[0] ? location.pathname + location.search : `#${name}`);
        };
    });
    return updates;
}

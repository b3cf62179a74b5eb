() => {
    // What Gradio's markup lacks for those who use the keyboard or have the page read to them; see gradio_patches.py.
    const set = (element, name, value) => {
        if (element.getAttribute(name) !== value) element.setAttribute(name, value);
    };
    const mend = () => {
        for (const button of document.querySelectorAll("button.label-wrap"))
            set(button, "aria-expanded", String(button.classList.contains("open")));
        // One stop of the Tab key for all tabs, as everywhere else; the arrow keys go from tab to tab.
        for (const tab of document.querySelectorAll('[role="tab"]'))
            set(tab, "tabindex", tab.getAttribute("aria-selected") === "true" ? "0" : "-1");
        // Browsers put what scrolls into the order of the Tab key: a long list would get the focus, and vanish with it.
        for (const list of document.querySelectorAll('[role="listbox"]')) set(list, "tabindex", "-1");
    };
    let isDue = false;
    const mendSoon = () => {
        if (isDue) return;
        isDue = true;
        requestAnimationFrame(() => {
            isDue = false;
            mend();
        });
    };
    // Gradio makes a tab's contents when it is first opened, and the tabs anew when the window's width changes.
    const changes = {childList: true, subtree: true, attributes: true, attributeFilter: ["class", "aria-selected"]};
    new MutationObserver(mendSoon).observe(document.body, changes);
    mend();

    // After the keys that leave a list, it would open again and cover the page: their handler ends after the blur.
    document.addEventListener("keydown", event => {
        if (["Tab", "Shift"].includes(event.key) && event.target.matches('[role="combobox"]')) event.stopPropagation();
    }, true);

    document.addEventListener("keydown", event => {
        const tab = event.target.closest('[role="tab"]');
        if (!tab || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
        const tabs = [...tab.closest('[role="tablist"]').querySelectorAll('[role="tab"]:not(:disabled)')];
        const here = tabs.indexOf(tab), last = tabs.length - 1;
        const next = {
            ArrowRight: here === last ? 0 : here + 1,
            ArrowLeft: here === 0 ? last : here - 1,
            Home: 0,
            End: last,
        }[event.key];
        if (next === undefined) return;
        event.preventDefault();
        tabs[next].focus();
        tabs[next].click();
    });
}

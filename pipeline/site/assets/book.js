// Small things that style sheets cannot do. The book works without them.
(function () {
  "use strict";

  // Opened from a disk, the search cannot read other pages: it lists them without extracts.
  if (window.location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
  }

  // Printing shows folded answers.
  var opened = [];
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details:not([open])").forEach(function (fold) {
      fold.open = true;
      opened.push(fold);
    });
  });
  window.addEventListener("afterprint", function () {
    opened.splice(0).forEach(function (fold) { fold.open = false; });
  });

  // A link to a place inside a fold opens the fold.
  function showTarget() {
    var id = decodeURIComponent(window.location.hash.slice(1));
    var target = id && document.getElementById(id);
    if (!target) { return; }
    for (var part = target; part; part = part.parentElement) {
      if (part.tagName === "DETAILS") { part.open = true; }
    }
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", showTarget);

  // What scrolls sideways can be reached and scrolled from the keyboard.
  var wide = "article pre, article div.math > mjx-container, article span.math.wide, article .pst-scrollable-table-container, article .cell_output .output, article .table-scroll";
  function markScrollable() {
    document.querySelectorAll("article span.math").forEach(function (formula) {
      var room = formula.parentElement.closest("p, li, td, th, dd, div, section, summary");
      if (formula.firstElementChild && room && room.clientWidth &&
          formula.firstElementChild.getBoundingClientRect().width > room.clientWidth) {
        formula.classList.add("wide");
      }
    });
    document.querySelectorAll(wide).forEach(function (box) {
      var scrolls = box.scrollWidth > box.clientWidth + 1 &&
        /auto|scroll/.test(getComputedStyle(box).overflowX);
      if (scrolls && !box.hasAttribute("tabindex")) {
        box.tabIndex = 0;
        if (!box.hasAttribute("role")) {
          box.setAttribute("role", "group");
          box.setAttribute("aria-label", "Scrolls sideways");
        }
      }
    });
  }
  function ready() {
    showTarget();
    markScrollable();
    document.addEventListener("toggle", markScrollable, true);
    window.addEventListener("resize", markScrollable);
    if (window.MathJax && window.MathJax.startup && window.MathJax.startup.promise) {
      window.MathJax.startup.promise.then(markScrollable);
    }
  }
  if (document.readyState === "complete") { ready(); } else { window.addEventListener("load", ready); }
})();

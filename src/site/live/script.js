// Live reload: receives events about changed files, and shows the changes. docroot -L adds this script to every page.
(() => {
  "use strict";
  const own = document.currentScript;
  // The script runs once per page, also if parts of the page include it again.
  if (!own || window.docrootLive) return;
  window.docrootLive = true;
  const address = own.src.replace(/\.js$/, "");

  let source = null;
  let known = null; // number of the last change that this page shows
  let pause = 1000; // milliseconds until the next attempt, if the browser gives up
  let showing = Promise.resolve();

  // A hidden page does not listen: a browser opens at most six connections for all pages of a site.
  const listen = () => {
    if (source || document.hidden) return;
    source = new EventSource(address);
    source.addEventListener("hello", (event) => {
      pause = 1000;
      const missed = known === null ? changedSinceAsked(JSON.parse(event.data).quiet) : known !== event.lastEventId;
      known = event.lastEventId;
      if (missed) location.reload();
    });
    source.addEventListener("change", (event) => {
      known = event.lastEventId;
      const { paths } = JSON.parse(event.data);
      showing = showing.then(() => show(paths, event.lastEventId)).catch(() => location.reload());
    });
    source.onerror = () => {
      if (!source || source.readyState !== EventSource.CLOSED) return;
      leave();
      setTimeout(listen, pause);
      pause = Math.min(pause * 2, 30000);
    };
  };
  const leave = () => {
    source?.close();
    source = null;
  };

  // Whether the last change, `quiet` milliseconds ago, is later than the request for this page.
  const changedSinceAsked = (quiet) => {
    const [asked] = performance.getEntriesByType("navigation");
    return quiet !== null && asked !== undefined && quiet < performance.now() - asked.requestStart;
  };

  const show = async (paths, id) => {
    const sheets = [...document.querySelectorAll("link[rel~=stylesheet i][href]")].filter(
      (link) => !link.disabled && new URL(link.href).origin === location.origin,
    );
    if (!paths || !sheets.length || !paths.every((path) => /\.css$/i.test(path))) return location.reload();
    const names = paths.map(decoded);
    const changed = sheets.filter((link) => names.includes(decoded(new URL(link.href).pathname)));
    if (changed.length < names.length) {
      // Some are imported by other style sheets, and the importing ones are unknown: refresh the cache, then swap all.
      await Promise.all(paths.map((path) => fetch(path, { cache: "reload" })));
      await Promise.all(sheets.map((link) => swap(link, id)));
    } else {
      await Promise.all(changed.map((link) => swap(link, id)));
    }
  };
  const decoded = (path) => {
    try {
      return decodeURIComponent(path);
    } catch {
      return path;
    }
  };

  // The old style sheet is removed after the new one has loaded, so that the page always has one.
  const swap = (link, id) =>
    new Promise((done, fail) => {
      const next = link.cloneNode();
      const url = new URL(link.href);
      url.searchParams.set("docroot-live", id);
      next.href = url;
      next.onload = () => {
        link.remove();
        done();
      };
      next.onerror = fail;
      setTimeout(fail, 5000);
      link.after(next);
    });

  addEventListener("visibilitychange", () => (document.hidden ? leave() : listen()));
  addEventListener("pagehide", leave);
  addEventListener("pageshow", listen);
  listen();
})();

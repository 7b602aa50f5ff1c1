// Takes what a sign-in left in the address bar out of it, before anything else
// of the page is loaded: a one-time code must not stay in the history, nor be
// seen by whatever the page loads. What it was is kept for the page's module.
(() => {
  const query = new URLSearchParams(location.search);
  const [login, code, worker] = ["login", "code", "worker"].map((name) => query.get(name));
  const arrived = { login, code, worker };
  if (location.search || location.hash) history.replaceState(null, "", location.pathname);
  Object.defineProperty(window, "arrived", { value: Object.freeze(arrived) });
})();

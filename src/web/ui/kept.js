// What the browser keeps. One that keeps nothing is no error: it forgets.

const at = (storage) => ({
  read(key) {
    try {
      return JSON.parse(window[storage].getItem(key));
    } catch {
      return null;
    }
  },
  /// Whether it was kept.
  keep(key, value) {
    try {
      window[storage].setItem(key, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  },
  drop(key) {
    try {
      window[storage].removeItem(key);
    } catch {
      // There is nothing to drop.
    }
  },
});

/// Until the tab is closed.
export const tab = at("sessionStorage");
/// For good.
export const browser = at("localStorage");

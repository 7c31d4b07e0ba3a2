"""The settings; `table` says what each is and where its value is taken from."""

from fanfold.engine.settings.lookup import HOME as HOME
from fanfold.engine.settings.lookup import TABLE as TABLE
from fanfold.engine.settings.lookup import found as found
from fanfold.engine.settings.lookup import named as named
from fanfold.engine.settings.lookup import reload as reload
from fanfold.engine.settings.lookup import source as source
from fanfold.engine.settings.lookup import staying as staying
from fanfold.engine.settings.lookup import temporary as temporary
from fanfold.engine.settings.table import DEFAULT_RUNNER as DEFAULT_RUNNER
from fanfold.engine.settings.table import Settings as Settings
from fanfold.engine.settings.table import current as current
from fanfold.engine.settings.table import home as home

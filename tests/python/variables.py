"""A secrets loader, as an instance may be given one: environment variables for its code."""

from typing import Any

from dagster._core.secrets.loader import SecretsLoader
from dagster._serdes import ConfigurableClass
from dagster._serdes.config_class import ConfigurableClassData


class Variables(SecretsLoader, ConfigurableClass):
    """Knows one variable."""

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        self._inst_data = inst_data

    def get_secrets_for_environment(self, location_name: str | None) -> dict[str, str]:
        return {"DTQ_TEST_GREETING": "the instance's own variables"}

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        return self._inst_data

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Any) -> "Variables":
        return cls(inst_data)

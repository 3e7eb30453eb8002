"""The base of all settings classes: where their values come from."""

from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from schemas.config.secrets import SecretFiles


class Environment(BaseSettings):
    """Base of all settings: environment variables, then a `.env` file in the working directory.

    A secret is read from NAME, or from the file named by NAME_FILE.
    """

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the secret files of each source before the source: in pydantic, the first source that has a setting wins."""
        sources = [init_settings]
        for source in (env_settings, dotenv_settings):
            if isinstance(source, EnvSettingsSource | DotEnvSettingsSource):
                sources.append(SecretFiles(settings_cls, source))
            sources.append(source)
        return tuple(sources)
